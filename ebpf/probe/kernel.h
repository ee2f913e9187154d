/*
 * The parts of the kernel's own types that the probes read, by name: where a field lies is settled
 * when a program is loaded, from the running kernel's BTF (CO-RE). Nothing else of these types is
 * here, and nothing needs a header of a particular kernel.
 */
#pragma once

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long s64;

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct rq {
	u64 clock; /* ns, of sched_info */
};

struct cfs_rq {
	struct rq *rq;
};

struct sched_entity {
	struct cfs_rq *cfs_rq; /* of the processor that the thread is at, of whatever class it is */
};

struct sched_info {
	u64 run_delay;	 /* ns in queues that it has left */
	u64 last_queued; /* when it came into the one where it is; 0: into none */
};

struct task_struct {
	int pid;
	int tgid;
	struct sched_entity se;
	struct sched_info sched_info;
};

struct block_device {
	u32 bd_dev;
};

struct bvec_iter {
	u64 bi_sector;
	u32 bi_size;
};

struct bio {
	struct bio *bi_next;
	struct block_device *bi_bdev;
	u32 bi_opf;
	struct bvec_iter bi_iter;
};

struct gendisk {
	int major;
	int first_minor;
};

struct request_queue {
	struct gendisk *disk;
};

struct request {
	struct request_queue *q;
	struct bio *bio;
	u32 cmd_flags;
};

struct io_cqe {
	u64 user_data;
};

struct io_kiocb {
	u8 opcode;
	struct io_cqe cqe;
};

struct sock_common {
	u16 skc_num;   /* the port here, in the processor's byte order */
	u16 skc_dport; /* the port there, in the network's */
};

struct inode {
	unsigned long i_ino;
};

struct file {
	struct inode *f_inode;
};

struct socket {
	struct file *file;
};

struct sock {
	struct sock_common __sk_common;
	struct socket *sk_socket;
};

#pragma clang attribute pop

/* What a probe in user space gets. Its layout is part of the kernel's promises. */
struct pt_regs {
#if defined(__TARGET_ARCH_x86)
	u64 r15, r14, r13, r12, rbp, rbx, r11, r10, r9, r8, rax, rcx, rdx, rsi, rdi;
	u64 orig_rax, rip, cs, eflags, sp, ss;
#else /* there are no markers; the rest is the same */
	u64 regs[31], sp, pc, pstate;
#endif
};
