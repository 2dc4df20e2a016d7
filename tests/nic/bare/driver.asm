; A driver without an operating system or an opinion: it finds a network card on PCI bus 0, opens its windows, and does
; what a list tells it, step by step, saying on the serial port what it reads. It starts by the Multiboot convention
; (QEMU's -kernel) or is put at 100000h and entered there; either way in flat 32-bit protected mode.

        bits 32
        org 0x100000

        dd 0x1BADB002, 0x00010000, -(0x1BADB002 + 0x00010000)  ; addresses follow
        dd 0x100000, 0x100000, 0, 0, start
identity: dd 0                  ; vendor and product, put in before the run
list:   dd 0x200000             ; where the steps lie

start:  cli
        mov esp, 0x9F000
        ; the card: slots 0 to 31
        mov esi, 0x80000000
.slot:  mov eax, esi
        mov dx, 0xCF8
        out dx, eax
        mov dx, 0xCFC
        in eax, dx
        cmp eax, [identity]
        je .found
        add esi, 0x800
        cmp esi, 0x80010000
        jb .slot
        mov eax, 0xBAD0BAD0
        call say
        jmp leave
.found: mov [function], esi
        mov edi, 0              ; windows
.bar:   lea eax, [esi + 0x10 + edi * 4]
        mov dx, 0xCF8
        out dx, eax
        mov dx, 0xCFC
        in eax, dx
        and eax, ~15
        mov [bars + edi * 4], eax
        inc edi
        cmp edi, 6
        jb .bar
        lea eax, [esi + 4]
        mov dx, 0xCF8
        out dx, eax
        mov dx, 0xCFC
        mov eax, 7
        out dx, eax

        mov esi, [list]
next:   lodsd                   ; what, first, second, third
        mov ebx, eax
        lodsd
        mov ecx, eax
        lodsd
        mov edx, eax
        lodsd
        mov edi, eax
        cmp ebx, (steps.end - steps) / 4
        jae leave
        jmp [steps + ebx * 4]

steps:  dd leave, write32, read32, put32, get32, wait32, poll32, config, storm, write8, move, delay
        dd write16
.end:

write32: ; register of window `edi` <- edx
        mov eax, [bars + edi * 4]
        mov [eax + ecx], edx
        jmp next
write8: mov eax, [bars + edi * 4]
        mov [eax + ecx], dl
        jmp next
write16:
        mov eax, [bars + edi * 4]
        mov [eax + ecx], dx
        jmp next
read32: mov eax, [bars + edi * 4]
        mov eax, [eax + ecx]
        call say
        jmp next
put32:  mov [ecx], edx
        jmp next
get32:  mov eax, [ecx]
        call say
        jmp next
wait32: ; until memory at ecx has the bits edx
        mov ebp, 50000000
.again: mov eax, [ecx]
        and eax, edx
        cmp eax, edx
        je next
        pause
        dec ebp
        jnz .again
        mov eax, 0xBAD00005
        call say
        jmp next
poll32: ; until a register has the bits edx
        mov ebp, 5000000
        add ecx, [bars + edi * 4]
.again: mov eax, [ecx]
        and eax, edx
        cmp eax, edx
        je next
        dec ebp
        jnz .again
        mov eax, 0xBAD00006
        call say
        jmp next
config: mov eax, [function]
        or eax, ecx
        push edx
        mov dx, 0xCF8
        out dx, eax
        pop eax
        mov dx, 0xCFC
        out dx, eax
        jmp next
storm:  ; ecx writes to registers of window 0, from the seed edx, below the mask edi
        mov ebp, edx
.again: imul ebp, ebp, 1664525
        add ebp, 1013904223
        mov eax, ebp
        shr eax, 8
        and eax, edi
        and eax, ~3
        add eax, [bars]
        imul ebp, ebp, 1664525
        add ebp, 1013904223
        mov ebx, ebp
        shr ebx, 7
        test ebx, 0x100000      ; small numbers half of the time
        jz .full
        and ebx, 0xFFF
.full:  test ebp, 0x10000000
        jz .write
        mov ebx, [eax]
        jmp .done
.write: mov [eax], ebx
.done:  dec ecx
        jnz .again
        jmp next
move:   ; memory: ecx <- edx, edi bytes
        push esi
        xchg ecx, edi
        mov esi, edx
        rep movsb
        pop esi
        jmp next

delay:  ; ecx turns
.again: dec ecx
        jnz .again
        jmp next

say:    ; EAX as eight digits and a line's end, on the serial port
        push ebx
        push ecx
        push edx
        mov ebx, eax
        mov ecx, 8
.digit: rol ebx, 4
        mov al, bl
        and al, 15
        add al, '0'
        cmp al, '9'
        jbe .put
        add al, 'a' - '9' - 1
.put:   call byte_out
        loop .digit
        mov al, 10
        call byte_out
        pop edx
        pop ecx
        pop ebx
        ret
byte_out:
        mov ah, al
        mov dx, 0x3FD
.wait:  in al, dx
        test al, 0x20
        jz .wait
        mov al, ah
        mov dx, 0x3F8
        out dx, al
        ret

leave:  mov al, 0x21
        out 0xF4, al            ; isa-debug-exit
.halt:  hlt
        jmp .halt

function: dd 0
bars:   times 6 dd 0
