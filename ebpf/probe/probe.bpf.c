//go:build ignore

/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * The probes. Go loads the programs of a feature together and attaches them; see features.go. All
 * of them look at the processes in `targets` only, count times in histograms, and tell of what
 * has to be looked at one by one through `events`, which is read now and then and wakes nobody.
 *
 * Kernel memory is read by following the typed pointers that tp_btf programs are given. Nothing
 * calls bpf_probe_read_kernel, which a locked-down kernel refuses.
 */
#include "bpf.h"

/* The kernel gives half of what is called here to such programs only. */
char LICENSE[] SEC("license") = "GPL";

enum {
	LAYOUT = 2,	 /* mark.Layout */
	MARK_BATCH = 64, /* mark.Batch: records that one call of a marker may bring */
	TARGETS = 16,
	THREADS = 1 << 16, /* by the last bits of their numbers */
	MERGED = 32, /* bios of a request that are looked at */
	/* Buckets of times: four to each power of two, from 1.024 us to 34 s. */
	FIRST_POWER = 10,
	LAST_POWER = 35,
	BUCKETS = (LAST_POWER - FIRST_POWER) * 4 + 1,
};

/* Events of a process, in the order of Go's EventKind. */
enum event_kind { EVENT_OP = 1, EVENT_APPEND, EVENT_ACK, EVENT_DELAY, EVENT_BIO, EVENT_RESEND, EVENT_RING };

/* Times of a process, in the order of Go's TimeKind. */
enum time_kind {
	TIME_RUN_QUEUE,	 /* awake, without a processor */
	TIME_RECEIVE,	 /* data in a socket's receive queue */
	TIME_RING,	 /* from submission to an io_uring to completion */
	TIME_READ,	 /* bios, from their submission to their end */
	TIME_WRITE,
	TIME_FLUSH,	 /* bios without data */
	TIME_KINDS,
};

enum counter { COUNT_LOST, COUNT_FOREIGN, COUNTERS };

struct hist {
	u64 n;
	u64 sum;
	u64 buckets[BUCKETS];
};

struct head {
	u16 kind;
	u16 count; /* records that follow; of marks more than one */
	u32 target;
	u64 at; /* when it was told; of requests only */
};

/* As in ebpf/mark. */
struct op {
	u64 session, id, copyset, term, index, volume, offset;
	u32 length;
	u8 kind, been;
	u16 status;
	s64 arrived;
	s64 spent[7];
	u64 node, store;
};

struct append {
	u64 copyset, term, first;
	u32 count, bytes;
	s64 queued, began, durable, taken;
	u64 node, store;
};

struct ack {
	u64 copyset, term, index;
	s64 at;
	u64 from, node, store;
};

struct op_event {
	struct head head;
	struct op op;
};

struct append_event {
	struct head head;
	struct append append;
};

struct ack_event {
	struct head head;
	struct ack ack;
};

/* A thread that waited for a processor. */
struct delay_event {
	struct head head;
	u64 began, took;
	u32 tid, cpu;
};

/* A bio of a process. */
struct bio_event {
	struct head head;
	u64 began, took, sector;
	u32 device, bytes, class, pad;
};

/* A segment that TCP sent once more. */
struct resend_event {
	struct head head;
	u64 at, inode;	   /* the socket's, by which it is known whose it is */
	u32 local, remote; /* ports */
};

/* An operation on an io_uring. */
struct ring_event {
	struct head head;
	u64 began, took, user_data;
	u32 opcode, pad;
};

/* Puts the types that Go decodes into the object's BTF, from which their Go twins are made. */
const struct op_event *go_op __attribute__((unused));
const struct append_event *go_append __attribute__((unused));
const struct ack_event *go_ack __attribute__((unused));
const struct delay_event *go_delay __attribute__((unused));
const struct bio_event *go_bio __attribute__((unused));
const struct resend_event *go_resend __attribute__((unused));
const struct ring_event *go_ring __attribute__((unused));

/* What the loader sets. */
const volatile u64 min_delay = 0; /* ns: shorter delays are counted, not told */
const volatile u64 min_bio = 0; /* of ring operations, too */
const volatile u64 untimed = 0; /* 1: nothing is counted in histograms */

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, TARGETS);
	__type(key, u32);   /* process */
	__type(value, u32); /* its number */
} targets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 16 << 20);
} events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, COUNTERS *TARGETS);
	__type(key, u32);
	__type(value, u64);
} counters SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, TIME_KINDS *TARGETS);
	__type(key, u32);
	__type(value, struct hist);
} times SEC(".maps");

inline_ u32 *target_of(u32 process) { return bpf_map_lookup_elem(&targets, &process); }

inline_ u32 *target(void) { return target_of(bpf_get_current_pid_tgid() >> 32); }

inline_ void count(u32 target, enum counter what, u64 n)
{
	u32 key = target * COUNTERS + what;
	u64 *c = bpf_map_lookup_elem(&counters, &key);
	if (c)
		*c += n;
}

inline_ u32 bucket_of(u64 ns)
{
	u32 power = 0, at;
	u64 v = ns;
	if (v >> 32)
		v >>= 32, power += 32;
	if (v >> 16)
		v >>= 16, power += 16;
	if (v >> 8)
		v >>= 8, power += 8;
	if (v >> 4)
		v >>= 4, power += 4;
	if (v >> 2)
		v >>= 2, power += 2;
	if (v >> 1)
		power += 1;
	if (power < FIRST_POWER)
		return 0;
	if (power >= LAST_POWER)
		return BUCKETS - 1;
	at = (power - FIRST_POWER) * 4 + 1 + ((ns >> (power - 2)) & 3);
	return at < BUCKETS ? at : BUCKETS - 1;
}

inline_ void add_time(u32 target, enum time_kind kind, u64 ns)
{
	if (untimed)
		return;
	u32 key = target * TIME_KINDS + kind;
	struct hist *h = bpf_map_lookup_elem(&times, &key);
	if (!h)
		return;
	u32 at = bucket_of(ns);
	if (at >= BUCKETS)
		return;
	h->n++;
	h->sum += ns;
	h->buckets[at]++;
}

/* Room for an event, or its loss is counted. */
#define reserve(type, what, target_)                                              \
	({                                                                        \
		type *e_ = bpf_ringbuf_reserve(&events, sizeof(type), 0);         \
		if (e_) {                                                         \
			e_->head.kind = what;                                     \
			e_->head.count = 1;                                       \
			e_->head.target = target_;                                \
			e_->head.at = 0;                                          \
		} else {                                                          \
			count(target_, COUNT_LOST, 1);                            \
		}                                                                 \
		e_;                                                               \
	})

inline_ void submit(void *event) { bpf_ringbuf_submit(event, BPF_RB_NO_WAKEUP); }

/* ---- marks: user-space probes on the functions of ebpf/mark ---- */

/* A marker's arguments, as it finds them on the stack behind its return address. */
struct mark_args {
	u64 first, count, layout;
};

/*
 * The records of one call go into one event, in the room for `most` of them. Room that stays empty is
 * not written to; one reservation for all costs less than one for each, and than an exact size.
 */
#define TELL(record, what, most)                                                           \
	do {                                                                               \
		struct {                                                                   \
			struct head head;                                                  \
			struct record all[most];                                           \
		} *e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);                        \
		if (!e) {                                                                  \
			count(target, COUNT_LOST, n);                                      \
			return 0;                                                          \
		}                                                                          \
		e->head.kind = what;                                                       \
		e->head.count = n;                                                         \
		e->head.target = target;                                                   \
		e->head.at = what == EVENT_OP ? bpf_ktime_get_ns() : 0;                    \
		if (bpf_probe_read_user(e->all, n * sizeof(struct record),                 \
					(void *)args.first)) {                             \
			count(target, COUNT_LOST, n);                                      \
			bpf_ringbuf_discard(e, BPF_RB_NO_WAKEUP);                          \
			return 0;                                                          \
		}                                                                          \
		submit(e);                                                                 \
		return 0;                                                                  \
	} while (0)

/* Which process it is, whoever attached the program has said with it. */
#define MARKER(name, record, what)                                                         \
	SEC("uprobe/" #name)                                                               \
	int mark_##name(struct pt_regs *regs)                                              \
	{                                                                                  \
		struct mark_args args;                                                     \
		u32 target = bpf_get_attach_cookie(regs);                                  \
		if (bpf_probe_read_user(&args, sizeof(args), (void *)(regs->sp + 8)))      \
			return 0;                                                          \
		u64 n = args.count;                                                        \
		if (args.layout != LAYOUT) {                                               \
			count(target, COUNT_FOREIGN, n);                                   \
			return 0;                                                          \
		}                                                                          \
		if (n <= 1)                                                                \
			TELL(record, what, 1);                                             \
		if (n <= 2)                                                                \
			TELL(record, what, 2);                                             \
		if (n <= 4)                                                                \
			TELL(record, what, 4);                                             \
		if (n <= 8)                                                                \
			TELL(record, what, 8);                                             \
		if (n <= 16)                                                               \
			TELL(record, what, 16);                                            \
		if (n <= 24)                                                               \
			TELL(record, what, 24);                                            \
		if (n <= 32)                                                               \
			TELL(record, what, 32);                                            \
		if (n <= 40)                                                               \
			TELL(record, what, 40);                                            \
		if (n <= MARK_BATCH)                                                       \
			TELL(record, what, MARK_BATCH);                                    \
		count(target, COUNT_LOST, n); /* more than mark.Batch */                   \
		return 0;                                                                  \
	}

MARKER(ops, op, EVENT_OP)
MARKER(appends, append, EVENT_APPEND)
MARKER(acks, ack, EVENT_ACK)

/* ---- run queue: how long a thread that could run had to wait ---- */

struct ran {
	u64 waited; /* in its life, until it was last given a processor */
	u32 tid, pad;
};

/*
 * Threads by the last bits of their numbers: the program runs at each switch of each processor, and
 * an array is found without a hash. Neighbours are far from each other, as they run on different
 * processors at one time. Of two threads with the same bits, what one of them waited at other
 * processors than the one that it was given at last is not known.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, THREADS);
	__type(key, u32);
	__type(value, struct ran);
} threads SEC(".maps");

/*
 * The kernel itself keeps since when a thread has been in a processor's queue, and how long it was in
 * those that it has left, so that nobody has to look at wake-ups, nor at the thread that goes: while
 * one runs it waits for nothing. At this point the one that comes is still in the queue.
 */
SEC("tp_btf/sched_switch")
int run_switch(u64 *args)
{
	struct task_struct *next = (void *)args[2];
	u32 tid = next->pid;
	if (!tid)
		return 0;
	u64 since = next->sched_info.last_queued;
	if (!since)
		return 0;
	u64 took = next->se.cfs_rq->rq->clock - since;
	u64 waited = next->sched_info.run_delay + took;
	u32 slot = tid * 0x9e37 & (THREADS - 1);
	struct ran *r = bpf_map_lookup_elem(&threads, &slot);
	if (r) {
		if (r->tid == tid)
			took = waited - r->waited;
		r->waited = waited;
		r->tid = tid;
	}
	if ((s64)took < 0)
		took = 0;
	if (untimed && took < min_delay)
		return 0;
	u32 *t = target_of(next->tgid);
	if (!t)
		return 0;
	add_time(*t, TIME_RUN_QUEUE, took);
	if (took < min_delay)
		return 0;
	struct delay_event *e = reserve(struct delay_event, EVENT_DELAY, *t);
	if (!e)
		return 0;
	e->began = bpf_ktime_get_ns() - took;
	e->took = took;
	e->tid = tid;
	e->cpu = bpf_get_smp_processor_id();
	submit(e);
	return 0;
}

/* ---- block: bios of the processes, and what the devices take for requests of anybody ---- */

enum class { CLASS_READ, CLASS_WRITE, CLASS_FLUSH, CLASS_OTHER };

/* A flush is a bio without data (blkdev_issue_flush), or a request of its own kind. */
inline_ enum class class_of(u32 flags, u32 bytes)
{
	switch (flags & 0xff) {
	case 0:
		return CLASS_READ;
	case 1:
		return bytes ? CLASS_WRITE : CLASS_FLUSH;
	case 2:
		return CLASS_FLUSH;
	}
	return CLASS_OTHER;
}

struct bio_begun {
	u64 at, sector;
	u32 target, device, bytes, class;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, u64);
	__type(value, struct bio_begun);
} bios SEC(".maps");

SEC("tp_btf/block_bio_queue")
int block_bio_queue(u64 *args)
{
	u32 *t = target();
	if (!t)
		return 0;
	struct bio *bio = (void *)args[0];
	u64 key = (u64)bio;
	struct bio_begun b = {
		.at = bpf_ktime_get_ns(),
		.sector = bio->bi_iter.bi_sector,
		.target = *t,
		.device = bio->bi_bdev->bd_dev,
		.bytes = bio->bi_iter.bi_size,
		.class = class_of(bio->bi_opf, bio->bi_iter.bi_size),
	};
	if (b.class != CLASS_OTHER)
		bpf_map_update_elem(&bios, &key, &b, BPF_ANY);
	return 0;
}

inline_ void bio_ended(u64 key)
{
	struct bio_begun *b = bpf_map_lookup_elem(&bios, &key);
	if (!b)
		return;
	u64 took = bpf_ktime_get_ns() - b->at;
	add_time(b->target, TIME_READ + b->class, took);
	if (took >= min_bio) {
		struct bio_event *e = reserve(struct bio_event, EVENT_BIO, b->target);
		if (e) {
			e->began = b->at;
			e->took = took;
			e->sector = b->sector;
			e->device = b->device;
			e->bytes = b->bytes;
			e->class = b->class;
			e->pad = 0;
			submit(e);
		}
	}
	bpf_map_delete_elem(&bios, &key);
}

/* Of devices that take bios as they are, such as device-mapper's. */
SEC("tp_btf/block_bio_complete")
int block_bio_complete(u64 *args)
{
	bio_ended(args[1]);
	return 0;
}

struct device_class {
	u32 device, class;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 256);
	__type(key, struct device_class);
	__type(value, struct hist);
} devices SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, u64);
	__type(value, u64);
} requests SEC(".maps");

const struct hist no_times = {};

SEC("tp_btf/block_rq_issue")
int block_rq_issue(u64 *args)
{
	if (untimed)
		return 0;
	u64 key = args[0], now = bpf_ktime_get_ns();
	bpf_map_update_elem(&requests, &key, &now, BPF_ANY);
	return 0;
}

SEC("tp_btf/block_rq_complete")
int block_rq_complete(u64 *args)
{
	struct request *rq = (void *)args[0];
	u64 key = args[0];
	/* The bios of a request have no event of their own. */
	struct bio *bio = rq->bio;
	for (int i = 0; i < MERGED && bio; i++, bio = bio->bi_next)
		bio_ended((u64)bio);
	if (untimed)
		return 0;
	u64 *at = bpf_map_lookup_elem(&requests, &key);
	if (!at)
		return 0;
	u64 took = bpf_ktime_get_ns() - *at;
	bpf_map_delete_elem(&requests, &key);
	struct gendisk *disk = rq->q->disk;
	struct device_class of = {
		.device = disk->major << 20 | disk->first_minor,
		.class = class_of(rq->cmd_flags, 1),
	};
	if (of.class == CLASS_OTHER)
		return 0;
	struct hist *h = bpf_map_lookup_elem(&devices, &of);
	if (!h) {
		bpf_map_update_elem(&devices, &of, &no_times, BPF_NOEXIST);
		h = bpf_map_lookup_elem(&devices, &of);
		if (!h)
			return 0;
	}
	u32 slot = bucket_of(took);
	if (slot >= BUCKETS)
		return 0;
	__sync_fetch_and_add(&h->n, 1);
	__sync_fetch_and_add(&h->sum, took);
	__sync_fetch_and_add(&h->buckets[slot], 1);
	return 0;
}

/* ---- ring: operations on an io_uring, from submission to completion ---- */

struct ring_begun {
	u64 at, user_data;
	u32 target, opcode;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, u64);
	__type(value, struct ring_begun);
} ring_ops SEC(".maps");

SEC("tp_btf/io_uring_submit_req")
int ring_submit(u64 *args)
{
	u32 *t = target();
	if (!t)
		return 0;
	struct io_kiocb *req = (void *)args[0];
	u64 key = args[0];
	struct ring_begun b = {
		.at = bpf_ktime_get_ns(),
		.user_data = req->cqe.user_data,
		.target = *t,
		.opcode = req->opcode,
	};
	bpf_map_update_elem(&ring_ops, &key, &b, BPF_ANY);
	return 0;
}

SEC("tp_btf/io_uring_complete")
int ring_complete(u64 *args)
{
	u64 key = args[1];
	struct ring_begun *b = bpf_map_lookup_elem(&ring_ops, &key);
	if (!b)
		return 0;
	u64 took = bpf_ktime_get_ns() - b->at;
	add_time(b->target, TIME_RING, took);
	if (took >= min_bio) {
		struct ring_event *e = reserve(struct ring_event, EVENT_RING, b->target);
		if (e) {
			e->began = b->at;
			e->took = took;
			e->user_data = b->user_data;
			e->opcode = b->opcode;
			e->pad = 0;
			submit(e);
		}
	}
	bpf_map_delete_elem(&ring_ops, &key);
	return 0;
}

/* ---- tcp: how long data lay in a socket before it was read, and what was sent again ---- */

struct received {
	u64 since; /* the first data came that has not been read; 0: all was read */
	u32 target, pad;
};

/* Sockets that a target has read from. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, u64);
	__type(value, struct received);
} sockets SEC(".maps");

SEC("tp_btf/sk_data_ready")
int tcp_ready(u64 *args)
{
	u64 key = args[0];
	struct received *r = bpf_map_lookup_elem(&sockets, &key);
	if (r && !r->since)
		r->since = bpf_ktime_get_ns();
	return 0;
}

SEC("tp_btf/sock_recv_length")
int tcp_read(u64 *args)
{
	u32 *t = target();
	int got = args[1], flags = args[2];
	if (!t || got <= 0 || flags & 2) /* MSG_PEEK */
		return 0;
	u64 key = args[0];
	struct received *r = bpf_map_lookup_elem(&sockets, &key);
	if (!r) {
		struct received first = {.target = *t};
		bpf_map_update_elem(&sockets, &key, &first, BPF_ANY);
		return 0;
	}
	if (r->since)
		add_time(*t, TIME_RECEIVE, bpf_ktime_get_ns() - r->since);
	r->since = 0;
	return 0;
}

/*
 * Whose the socket is, the reader finds out, from what is open in which process: that is asked for
 * when a segment was lost, and not at each one that came. One that finds no room is counted as the
 * first process's.
 */
SEC("tp_btf/tcp_retransmit_skb")
int tcp_resend(u64 *args)
{
	struct sock *sk = (void *)args[0];
	struct resend_event *e = reserve(struct resend_event, EVENT_RESEND, 0);
	if (!e)
		return 0;
	e->at = bpf_ktime_get_ns();
	e->inode = sk->sk_socket->file->f_inode->i_ino;
	e->local = sk->__sk_common.skc_num;
	e->remote = __builtin_bswap16(sk->__sk_common.skc_dport);
	submit(e);
	return 0;
}
