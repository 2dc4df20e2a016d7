; Quicksort of 16384 words of a linear congruential generator, recursive, then a checksum that depends on their order:
; branches nobody can foresee, calls and returns.
%include "start.inc"
DATA    equ 0x20000
COUNT   equ 16384

work:   mov edi, DATA
        mov eax, 12345
        mov ecx, COUNT
.fill:  imul eax, eax, 1103515245
        add eax, 12345
        mov [edi], eax
        add edi, 4
        dec ecx
        jnz .fill
        mov esi, DATA
        mov edi, DATA + 4*COUNT - 4
        call sort
        xor eax, eax
        mov esi, DATA
.sum:   rol eax, 1
        xor eax, [esi]
        add esi, 4
        cmp esi, DATA + 4*COUNT
        jb .sum
        ret

sort:   ; unsigned words from ESI to EDI, both included (Hoare's partition)
        cmp esi, edi
        jae .done
        mov ebx, esi
        mov edx, edi
        mov eax, esi
        add eax, edi
        shr eax, 1
        and eax, -4
        mov eax, [eax]
.left:  cmp [ebx], eax
        jae .right
        add ebx, 4
        jmp .left
.right: cmp [edx], eax
        jbe .swap
        sub edx, 4
        jmp .right
.swap:  cmp ebx, edx
        ja .split
        mov ecx, [ebx]
        xchg ecx, [edx]
        mov [ebx], ecx
        add ebx, 4
        sub edx, 4
        cmp ebx, edx
        jbe .left
.split: push ebx
        push edi
        mov edi, edx
        call sort
        pop edi
        pop esi
        call sort
.done:  ret
boot_sector
