#!/bin/sh
# Brings what Pagurus needs onto a Debian 12 machine; says nothing when all of it is there.
#
#   tools/deps.sh run      what ./run needs: compilers, libraries, the broker
#   tools/deps.sh check    that, and what ./check needs: peers, linters, fuzzing, the Python tools in build/venv
#
# Needs root or sudo only when something is missing. Exit 0: all there. Exit 1: it says what could not be had.
set -eu
cd "$(dirname "$0")/.."

run_packages="ca-certificates ccache cmake curl gcc libcurl4-openssl-dev libc6-dev libinih-dev libjansson-dev
  libmosquitto-dev libsqlite3-dev libssl-dev make mosquitto mosquitto-dev ninja-build openssl pkg-config procps
  python3 zlib1g-dev gcc-xtensa-lx106 binutils-xtensa-lx106"
check_packages="chromium clang clang-format clang-tidy gcovr gcc-riscv64-unknown-elf git iproute2 libbearssl-dev libclang-rt-14-dev libcmocka-dev
  libhttp-parser-dev libmbedtls-dev mosquitto-clients nginx-light python3-venv rabbitmq-server scdoc shellcheck wget wrk"
python_packages="esp-idf-nvs-partition-gen==0.3.0 esptool==5.6.0 h11==0.16.0 littlefs-python==0.19.0 pytest==9.2.0 pytest-xdist==3.8.0 cryptography==50.0.2"

what=${1:-check}
case $what in
run) packages=$run_packages ;;
check) packages="$run_packages $check_packages" ;;
*) echo "deps.sh: say 'run' or 'check', not '$what'" >&2; exit 2 ;;
esac

missing=""
for package in $packages; do
    state=$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$state" = installed ] || missing="$missing $package"
done
if [ -n "$missing" ]; then
    as_root=""
    if [ "$(id -u)" != 0 ]; then
        command -v sudo >/dev/null || { echo "deps.sh: root or sudo is needed to install:$missing" >&2; exit 1; }
        as_root=sudo
    fi
    echo "deps.sh: installing$missing" >&2
    log=$(mktemp)
    # A broker or web server that Debian would start by itself is not wanted: ours run as children on their own ports.
    policy=/usr/sbin/policy-rc.d
    [ -e $policy ] || { printf '#!/bin/sh\nexit 101\n' | $as_root tee $policy >/dev/null; $as_root chmod 755 $policy; mine=1; }
    ok=1
    # shellcheck disable=SC2086
    { $as_root apt-get update -qq && $as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends $missing; } >"$log" 2>&1 || ok=0
    [ -z "${mine:-}" ] || $as_root rm -f $policy
    [ $ok = 1 ] || { tail -n 20 "$log" >&2; echo "deps.sh: apt-get failed; the whole log is $log" >&2; exit 1; }
    rm -f "$log"
fi

[ "$what" = check ] || exit 0
want=$(echo "$python_packages" | tr ' ' '\n' | sort)
if [ ! -x build/venv/bin/python ] || [ "$(cat build/venv/.pagurus 2>/dev/null)" != "$want" ]; then
    echo "deps.sh: setting up build/venv" >&2
    mkdir -p build
    python3 -m venv build/venv || { echo "deps.sh: python3 -m venv failed; remove build/venv and try again" >&2; exit 1; }
    # shellcheck disable=SC2086
    build/venv/bin/pip install --quiet --disable-pip-version-check $python_packages ||
        { echo "deps.sh: pip could not install: $python_packages" >&2; exit 1; }
    echo "$want" >build/venv/.pagurus
fi
