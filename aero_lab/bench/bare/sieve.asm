; Sieve of Eratosthenes: how many primes are below 65536 (6542). One byte a number: byte stores, short loops.
%include "start.inc"
SIEVE   equ 0x20000
LIMIT   equ 65536

work:   mov edi, SIEVE
        mov ecx, LIMIT / 4
        mov eax, 0x01010101
        rep stosd
        mov esi, 2
.next:  cmp byte [SIEVE + esi], 0
        je .skip
        mov edi, esi
        imul edi, edi
        cmp edi, LIMIT
        jae .count
.strike:
        mov byte [SIEVE + edi], 0
        add edi, esi
        cmp edi, LIMIT
        jb .strike
.skip:  inc esi
        jmp .next
.count: xor eax, eax
        mov esi, 2
.add:   movzx edx, byte [SIEVE + esi]
        add eax, edx
        inc esi
        cmp esi, LIMIT
        jb .add
        ret
boot_sector
