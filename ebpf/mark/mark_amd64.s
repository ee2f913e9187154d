#include "textflag.h"

// The kernel finds the word by its place in the file, which a variable of zeroes would not have
// without its DATA.
DATA ·armed+0(SB)/2, $0
GLOBL ·armed(SB), NOPTR, $2

// The five bytes of NOPL 0(AX)(AX*1) are what the kernel can turn into a call. A probe finds the
// arguments on the stack, from 8(SP) on.
#define NOP5 BYTE $0x0f; BYTE $0x1f; BYTE $0x44; BYTE $0x00; BYTE $0x00

// func ops(first *Op, count, layout int)
TEXT ·ops(SB), NOSPLIT|NOFRAME, $0-24
	NOP5
	RET

// func appends(first *Append, count, layout int)
TEXT ·appends(SB), NOSPLIT|NOFRAME, $0-24
	NOP5
	RET

// func acks(first *Ack, count, layout int)
TEXT ·acks(SB), NOSPLIT|NOFRAME, $0-24
	NOP5
	RET
