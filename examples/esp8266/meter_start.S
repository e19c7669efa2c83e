/* Exception vectors and entry, in instruction RAM: the flash window is not there before Cache_Read_Enable. */
        .section .vectors, "ax"
        .org    0x10                    /* debug */
        j       fault
        .org    0x20                    /* NMI */
        j       fault
        .org    0x30                    /* kernel exception */
        j       fault
        .org    0x50                    /* user exception */
        j       fault
        .org    0x70                    /* double exception */
        j       fault
        .align  4
fault:  j       fault                   /* the hardware watchdog restarts the part after about 8 s */

        .section .entry, "ax"
        .literal_position
        .align  4
        .global meter_entry
meter_entry:
        movi    a1, stack_top
        movi    a2, 0x40100000          /* vectors: a multiple of 0x1000 */
        wsr     a2, vecbase
        movi    a2, bss_start
        movi    a3, bss_end
        movi    a4, 0
        bgeu    a2, a3, 2f
1:      s32i    a4, a2, 0
        addi    a2, a2, 4
        bltu    a2, a3, 1b
2:      movi    a2, 0
        movi    a3, 0
        movi    a4, 0
        movi    a5, Cache_Read_Enable
        callx0  a5
        movi    a2, main
        callx0  a2
3:      j       3b
