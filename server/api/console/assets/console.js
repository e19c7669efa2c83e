// Plain status page: reads /api/v1 every two seconds. Text reaches the page only through textContent.
'use strict';

(function () {
  const EVERY_MS = 2000;
  const EVENTS_SHOWN = 20;
  const KEY = 'pagurus-token';
  const MOOD = {
    up_to_date: 'good', published: 'good', running: 'good', failed: 'bad', reverted: 'bad', blocked: 'bad',
    revoked: 'bad', down: 'bad', stale: 'bad', updating: 'busy', on_trial: 'busy', update_offered: 'busy',
  };
  let timer = 0;
  let lastSeq = null; // none yet: the server then gives the newest events
  let events = [];

  function at(id) { return document.getElementById(id); }

  function make(tag, text, mood) {
    const node = document.createElement(tag);
    node.textContent = text === null || text === undefined || text === '' ? '–' : String(text);
    if (mood) { node.className = mood; }
    return node;
  }

  function rows(id, items, cells) {
    const body = at(id);
    const fresh = document.createDocumentFragment();
    for (const item of items) {
      const row = document.createElement('tr');
      for (const cell of cells(item)) { row.append(cell); }
      fresh.append(row);
    }
    body.replaceChildren(fresh);
  }

  function ago(text) {
    if (!text) { return ''; }
    const s = Math.max(0, Math.round((Date.now() - Date.parse(text)) / 1000));
    if (s < 120) { return s + ' s ago'; }
    if (s < 7200) { return Math.round(s / 60) + ' min ago'; }
    if (s < 172800) { return Math.round(s / 3600) + ' h ago'; }
    return Math.round(s / 86400) + ' days ago';
  }

  function words(state) { return String(state || '').replaceAll('_', ' '); }

  async function get(path) {
    const reply = await fetch('/api/v1' + path, {
      headers: { Authorization: 'Bearer ' + sessionStorage.getItem(KEY) }, cache: 'no-store', credentials: 'omit',
    });
    if (reply.status === 401) { throw new Refused('The server does not accept this token.'); }
    if (!reply.ok) { throw new Error('GET ' + path + ' answered ' + reply.status + '.'); }
    return reply.json();
  }

  class Refused extends Error {}

  function showCounts(status) {
    const cards = [['Devices', status.devices.total], ['Online', status.devices.online]];
    for (const [state, n] of Object.entries(status.devices.by_state || {})) {
      cards.push([words(state), n, n > 0 ? MOOD[state] : '']); // a colour only where there is something to see
    }
    cards.push(['Broker', words(status.broker.state), MOOD[status.broker.state]]);
    cards.push(['Write queue', status.store.queue]);
    at('counts').replaceChildren(...cards.map(([name, value, mood]) => {
      const card = document.createElement('div');
      card.append(make('dt', name), make('dd', value, mood));
      return card;
    }));
  }

  function showStatus(status) {
    at('server').textContent = 'version ' + status.version + ', started ' + ago(status.started_at);
    at('server').title = status.started_at;
    showCounts(status);
    const list = at('warnings');
    list.hidden = status.warnings.length === 0;
    list.replaceChildren(...status.warnings.map((text) => make('li', text)));
  }

  function showDevices(page) {
    at('devices-note').textContent = page.total.value > page.items.length
      ? page.items.length + ' of ' + page.total.value : '';
    rows('devices', page.items, (d) => {
      const name = make('td', d.name || d.id);
      name.title = d.id;
      const state = make('td', words(d.state), MOOD[d.state]);
      state.title = d.why || '';
      return [name, make('td', d.product), state, make('td', d.running && d.running.version),
        make('td', d.wanted && d.wanted.version), make('td', ago(d.last_seen))];
    });
  }

  function showReleases(page) {
    rows('releases', page.items, (r) => [make('td', r.product), make('td', r.version),
      make('td', r.state, MOOD[r.state]), make('td', r.counts.confirmed),
      make('td', r.counts.failed + r.counts.reverted), make('td', ago(r.published_at))]);
  }

  function showEvents(page) {
    events = page.items.slice().reverse().concat(events).slice(0, EVENTS_SHOWN);
    lastSeq = page.next_after;
    rows('events', events, (e) => [make('td', ago(e.at)), make('td', e.type), make('td', e.device),
      make('td', e.actor)]);
  }

  function signedIn(yes) {
    at('sign-in').hidden = yes;
    at('status').hidden = !yes;
    at('sign-out').hidden = !yes;
  }

  function trouble(text) {
    at('trouble').textContent = text;
    at('trouble').hidden = text === '';
  }

  async function refresh() {
    try {
      showStatus(await get('/status'));
      showDevices(await get('/devices?limit=100'));
      showReleases(await get('/releases?limit=20'));
      showEvents(await get(lastSeq === null ? '/events?limit=' + EVENTS_SHOWN : '/events?limit=1000&after=' + lastSeq));
      trouble('');
      signedIn(true);
    } catch (error) {
      trouble(error.message);
      if (error instanceof Refused) { return forget(); }
    }
    timer = setTimeout(refresh, EVERY_MS);
    return undefined;
  }

  function forget() {
    clearTimeout(timer);
    lastSeq = null;
    events = [];
    sessionStorage.removeItem(KEY);
    signedIn(false);
    at('token').value = '';
  }

  at('sign-in').addEventListener('submit', (event) => {
    event.preventDefault();
    sessionStorage.setItem(KEY, at('token').value.trim());
    clearTimeout(timer);
    refresh();
  });
  at('sign-out').addEventListener('click', () => { trouble(''); forget(); });

  if (sessionStorage.getItem(KEY)) { refresh(); } else { signedIn(false); }
}());
