; CRC-32 (reflected, 0xEDB88320) of 65536 bytes of a linear congruential generator, by table: loads that hang on one another.
%include "start.inc"
TABLE   equ 0x10000
DATA    equ 0x20000
SIZE    equ 65536

work:   xor ecx, ecx
.entry: mov eax, ecx
        mov edx, 8
.bit:   shr eax, 1
        jnc .even
        xor eax, 0xEDB88320
.even:  dec edx
        jnz .bit
        mov [TABLE + ecx*4], eax
        inc ecx
        cmp ecx, 256
        jb .entry
        mov edi, DATA
        mov eax, 12345
.fill:  imul eax, eax, 1103515245
        add eax, 12345
        mov edx, eax
        shr edx, 16
        mov [edi], dl
        inc edi
        cmp edi, DATA + SIZE
        jb .fill
        mov esi, DATA
        mov eax, -1
.crc:   movzx edx, byte [esi]
        movzx ecx, al
        xor ecx, edx
        shr eax, 8
        xor eax, [TABLE + ecx*4]
        inc esi
        cmp esi, DATA + SIZE
        jb .crc
        not eax
        ret
boot_sector
