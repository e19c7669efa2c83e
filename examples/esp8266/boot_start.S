/* Entry of the loader: the mask ROM jumps here with its own stack, which is above everything loaded. */
        .section .entry, "ax"
        .literal_position
        .align  4
        .global boot_entry
boot_entry:
        movi    a1, 0x3FFFFFB0
        call0   boot_load
        jx      a2
