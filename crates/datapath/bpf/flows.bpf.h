// SPDX-License-Identifier: MIT OR GPL-2.0-only
//
// The flow cache: repeats for packets of known states what the engine has decided, and what rules
// decided without a state. It decides nothing: whatever is not plain goes up. The layouts are
// repeated in src/flows/layout.rs; the window test is that of crates/pf-engine/src/tcp.rs, for
// segments between two connected ends.

#define FAMILY_V4 4
#define FAMILY_V6 6

// What all packets of a flow have in common at a hook.
struct flow_key {
	__u32 interface;
	__u8 direction;
	__u8 family;
	__u8 protocol;
	__u8 opens; /* a segment with SYN and without ACK, FIN, RST and URG */
	__be16 source_port; /* of an echo: its id or, where it asks or is asked, the type */
	__be16 destination_port;
	__u8 ether[2 * ETH_ALEN];
	__u32 source[4];
	__u32 destination[4];
};

struct traffic {
	__u64 packets;
	__u64 bytes;
};

// What is done with a packet of a flow.
enum act { LET_PASS = 0, TRANSLATE = 1, DROP = 2 };

// That, and what a translated packet becomes; of an echo one of the ports is its id. The addresses are
// IPv4's.
struct ends {
	__u32 source;
	__u32 destination;
	__be16 source_port;
	__be16 destination_port;
	__u32 act;
};

// A state, and what its packets did: index 0 goes in the direction of its opener. What each packet
// needs stands in front, in one line of the CPU's cache.
struct flow_state {
	struct bpf_spin_lock lock;
	__u16 has_windows;
	__u16 undecided; /* packets that it lets pass, if the state where they leave does as well */
	__u64 lifetime; /* nanoseconds that it lives behind `last` */
	__u64 last; /* when its last packet passed, on the monotonic clock */
	struct traffic traffic[2];
	struct peer peers[2];
	struct ends ends[2];
	__u32 shifts[2]; /* added to the sequence numbers of each end (`modulate state`) */
};

struct addresses_v6 {
	__u32 source[4];
	__u32 destination[4];
};

// What translated IPv6 packets of a state become, beside its ends, by its ways.
struct ends_v6 {
	struct addresses_v6 ways[2];
};

// What becomes of a packet.
struct change {
	struct ends ends;
	struct addresses_v6 v6; /* of a translated IPv6 packet */
	__u32 seq; /* added to its sequence number */
	__u32 ack; /* taken off the numbers that it acknowledges */
};

// Where the packets of a flow lead: a slot in use for one state, and one of the state's ways.
struct flow_place {
	__u64 use; /* of the slot, as it is in `flow_uses` as long as the state is there; in `flows` sealed */
	__u64 way; /* twice the slot, and 1 for packets to the opener */
};

// The loader says how many there are: src/flows.rs.
#define FLOW_STATES_MAX 65536
// Decisions without a state have slots of their own, behind those of states: whoever has himself
// blocked takes no state's room.
#define FLOW_DECISIONS_MAX 32768
#define FLOW_SLOTS_MAX (FLOW_STATES_MAX + FLOW_DECISIONS_MAX)

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 2 * FLOW_STATES_MAX + FLOW_DECISIONS_MAX);
	__type(key, struct flow_key);
	__type(value, struct flow_place);
} flows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, FLOW_SLOTS_MAX);
	__type(key, __u32);
	__type(value, struct flow_state);
} flow_states SEC(".maps");

// By the slot. Apart from the states, so that others take no room for it: what is here stays until its
// slot has such a state again. As a state, it changes only while its slot is not in use.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, FLOW_STATES_MAX);
	__type(key, __u32);
	__type(value, struct ends_v6);
} flow_ends_v6 SEC(".maps");

// Who says how packets leave: nobody but those that have left before them, or the engine.
enum told { LEARNT = 0, BY_WIRE = 1, BY_GATEWAY = 2 };

// How the packets of one way of a state leave: exit.bpf.h.
struct exit {
	__u64 use; /* of their own slot */
	struct flow_place out; /* what knows them where they leave; 0 if nothing has to */
	union {
		struct {
			__u64 learned; /* when, on the monotonic clock */
			__u64 begins; /* since when it holds */
		};
		__u32 next_hop[4]; /* BY_GATEWAY */
	};
	__u32 topology; /* in which it was found; of a gateway its address family */
	__u32 interface; /* that they leave by; 0 if they have more than one exit */
	__u8 ether[2 * ETH_ALEN]; /* addresses of their frames then */
	__u16 longest; /* bytes of the longest packet that has gone this way */
	__u8 hops; /* that they lose to routing */
	__u8 told; /* enum told */
};

// By twice the slot, and the way.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2 * FLOW_SLOTS_MAX);
	__type(key, __u32);
	__type(value, struct exit);
} flow_exits SEC(".maps");

// What a slot is in use for: the epoch in the low half, in the high one a number that tells a state
// from those that had the slot before; 0 for nothing. Apart from the state, so that writing it
// touches no counter.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, FLOW_SLOTS_MAX);
	__type(key, __u32);
	__type(value, __u64);
} flow_uses SEC(".maps");

// The epoch in force: moving it on empties the cache.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} flow_epoch SEC(".maps");

// Beside the direction: the program that opens connections.
#define OPENS 4u

// The programs of the cache by direction, and those behind them; none while it is off. The kernel empties the map when
// the daemon's descriptor of it is closed: the cache goes with its daemon, however that ends.
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 6);
	__type(key, __u32);
	__type(value, __u32);
} fast_path SEC(".maps");

#define PAVE 2 /* places of `flow_pave` and `flow_ride` there */
#define RIDE 3

// What of a packet matters besides its key.
struct plain {
	__u32 at; /* of the transport header */
	__u32 end;
	__u32 packets; /* more than one in a super-packet */
	__u32 bytes; /* of all of them */
	struct segment segment; /* of TCP */
	__u32 asks; /* an echo request */
	__u32 longest; /* bytes of the longest of them */
	__u32 waits; /* 1 while another state is to be asked before it counts: `decide` */
	__u8 hops; /* that it has left: TTL or hop limit */
	__u8 is_v6;
};

// What is found out about the packet at hand, for which there is no room on the stack.
struct aside {
	struct plain plain;
	struct change first; /* by what knows it where it comes in, or is */
	struct change then; /* by what knows it where it leaves */
	struct exit exit;
	struct flow_key key; /* once it has passed where it came in, behind `first` */
	/* for lane.bpf.h: */
	struct ends was; /* as it came in */
	struct flow_place from;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct aside);
} flow_aside SEC(".maps");

static __always_inline struct aside *all_aside(void)
{
	__u32 first = 0;

	return bpf_map_lookup_elem(&flow_aside, &first);
}

// 0 for an IPv4 packet without options that is no fragment.
static __always_inline int read_v4(const struct frame *frame, struct flow_key *key,
				   struct plain *plain)
{
	struct iphdr ip;

	if (load(frame, ETH_HLEN, &ip, sizeof(ip)))
		return -1;
	if (ip.version != 4 || ip.ihl != 5 || ip.frag_off & ~bpf_htons(0x4000))
		return -1;
	key->family = FAMILY_V4;
	key->protocol = ip.protocol;
	key->source[0] = ip.saddr;
	key->destination[0] = ip.daddr;
	plain->hops = ip.ttl;
	plain->at = ETH_HLEN + sizeof(ip);
	plain->end = ETH_HLEN + bpf_ntohs(ip.tot_len);
	return 0;
}

// 0 for an IPv6 packet without extension headers.
static __always_inline int read_v6(const struct frame *frame, struct flow_key *key,
				   struct plain *plain)
{
	struct ipv6hdr ip;

	if (load(frame, ETH_HLEN, &ip, sizeof(ip)))
		return -1;
	if (ip.version != 6 || !ip.payload_len)
		return -1;
	key->family = FAMILY_V6;
	key->protocol = ip.nexthdr;
	__builtin_memcpy(key->source, &ip.saddr, sizeof(key->source));
	__builtin_memcpy(key->destination, &ip.daddr, sizeof(key->destination));
	plain->hops = ip.hop_limit;
	plain->is_v6 = 1;
	plain->at = ETH_HLEN + sizeof(ip);
	plain->end = plain->at + bpf_ntohs(ip.payload_len);
	return 0;
}

// A super-packet is what its segments are: they have its headers each.
static __always_inline int read_tcp(const struct frame *frame, struct flow_key *key,
				    struct plain *plain)
{
	struct {
		__be16 source;
		__be16 destination;
		__be32 seq;
		__be32 ack;
		__u8 offset; /* and reserved bits */
		__u8 flags;
		__be16 window;
		__be16 checksum;
		__be16 urgent;
	} tcp;
	struct segment *segment = &plain->segment;
	__u32 header, len = frame->segment;
	__u8 told, control;

	if (load(frame, plain->at, &tcp, sizeof(tcp)))
		return -1;
	// What the engine makes zero; and no port, which OpenBSD's PF refuses.
	if (tcp.offset & 0x0f || tcp.urgent || !tcp.destination)
		return -1;
	told = tcp.flags & TCP_CLASS_FLAGS;
	control = told & TCP_CONTROL;
	// No host sends data to be pushed before it has heard of the other: the engine drops it.
	if (told == TCP_SYN && !(tcp.flags & TCP_PSH))
		key->opens = 1;
	else if (told != (TCP_ACK | control) || control & (control - 1))
		return -1;
	header = (tcp.offset >> 4) * 4;
	if (header < sizeof(tcp) || plain->at + header > plain->end)
		return -1;
	key->source_port = tcp.source;
	key->destination_port = tcp.destination;
	segment->flags = told;
	segment->seq = bpf_ntohl(tcp.seq);
	segment->ack = bpf_ntohl(tcp.ack);
	segment->window = bpf_ntohs(tcp.window);
	segment->len = plain->end - plain->at - header;
	if (header > sizeof(tcp) && told != TCP_SYN &&
	    read_options(frame, plain->at, plain->at + sizeof(tcp), plain->at + header, segment)) {
		if (told & TCP_SYN)
			return -1;
		segment->sack_at = SACK_UNKNOWN;
	}
	if (!len)
		return 0;
	if (told & TCP_SYN || plain->end != frame->len || !segment->len)
		return -1;
	plain->packets = (segment->len + len - 1) / len;
	plain->bytes += (plain->packets - 1) * (plain->at + header - ETH_HLEN);
	if (plain->packets > 1)
		plain->longest = plain->at + header - ETH_HLEN + len;
	return 0;
}

static __always_inline int read_udp(const struct frame *frame, struct flow_key *key,
				    struct plain *plain)
{
	struct {
		__be16 source;
		__be16 destination;
		__be16 len;
		__be16 checksum;
	} udp;
	__u32 len;

	if (frame->segment || load(frame, plain->at, &udp, sizeof(udp)))
		return -1;
	len = bpf_ntohs(udp.len);
	if (!udp.destination || len < sizeof(udp) || plain->at + len > plain->end)
		return -1;
	key->source_port = udp.source;
	key->destination_port = udp.destination;
	return 0;
}

// Echo requests and their answers have the ports that the engine's keys have.
static __always_inline int read_echo(const struct frame *frame, struct flow_key *key,
				     struct plain *plain, __u8 request, __u8 reply)
{
	struct {
		__u8 type;
		__u8 code;
		__be16 checksum;
		__be16 id;
		__be16 sequence;
	} echo;

	if (frame->segment || load(frame, plain->at, &echo, sizeof(echo)))
		return -1;
	if (plain->at + sizeof(echo) > plain->end)
		return -1;
	if (echo.type == request) {
		key->source_port = echo.id;
		key->destination_port = bpf_htons(request);
		plain->asks = 1;
	} else if (echo.type == reply) {
		key->source_port = bpf_htons(request);
		key->destination_port = echo.id;
	} else {
		return -1;
	}
	return 0;
}

// 0 if it is a whole IP packet.
static __always_inline int read_ip(const struct frame *frame, struct flow_key *key,
				   struct plain *plain)
{
	struct ethhdr ether;
	int failed;

	if (load(frame, 0, &ether, sizeof(ether)))
		return -1;
	__builtin_memcpy(key->ether, &ether, sizeof(key->ether));
	failed = ether.h_proto == bpf_htons(ETH_P_IP) ? read_v4(frame, key, plain) :
							read_v6(frame, key, plain);
	if (failed || plain->end > frame->len || plain->at > plain->end)
		return -1;
	plain->packets = 1;
	plain->bytes = plain->end - ETH_HLEN;
	plain->longest = plain->bytes;
	return 0;
}

static __always_inline int read_transport(const struct frame *frame, struct flow_key *key,
					  struct plain *plain)
{
	if (key->protocol == IPPROTO_TCP)
		return read_tcp(frame, key, plain);
	if (key->protocol == IPPROTO_UDP)
		return read_udp(frame, key, plain);
	if (key->family == FAMILY_V4 && key->protocol == IPPROTO_ICMP)
		return read_echo(frame, key, plain, 8, 0);
	if (key->family == FAMILY_V6 && key->protocol == IPPROTO_ICMPV6)
		return read_echo(frame, key, plain, 128, 129);
	return -1;
}

// 0 if the packet is one whose flow may be known. Both must be in a map: verifiers know nothing of what comes
// out of one, so they go through what is behind once, and not for each kind of packet.
static __always_inline int read_plain(const struct frame *frame, struct flow_key *key,
				      struct plain *plain)
{
	if (read_ip(frame, key, plain) || read_transport(frame, key, plain))
		return -1;
	// What the compiler knows of them is forgotten as well.
	asm volatile("" : : : "memory");
	return 0;
}

// A state whose packet this may be.
struct found {
	struct flow_place place;
	struct flow_state *state;
	const volatile __u64 *use;
	const volatile __u32 *epoch; /* in force */
};

// 0 if there is such a place. What is there is to be asked under the state's lock.
static __always_inline int find_place(const struct flow_place *place, struct found *found)
{
	__u32 slot = place->way >> 1, first = 0;

	found->place = *place;
	found->state = bpf_map_lookup_elem(&flow_states, &slot);
	found->use = bpf_map_lookup_elem(&flow_uses, &slot);
	found->epoch = bpf_map_lookup_elem(&flow_epoch, &first);
	return found->state && found->use && found->epoch ? 0 : -1;
}

// What a use is sealed with in `flows` (exclusive or), so that no other key gets it back. The kernel gives an element
// that is deleted to the next key at once: who has found it by the first may read the second's value, or half of it.
static __always_inline __u64 seal(const struct flow_key *key)
{
	const __u64 *words = (const void *)key, factors[] = { 0x9e3779b97f4a7c15, 0xd6e8feb86659fd93 };
	__u64 hashes[2] = {};

#pragma unroll
	for (int i = 0; i < sizeof(*key) / sizeof(*words); i++) {
		hashes[i & 1] = (hashes[i & 1] ^ words[i]) * factors[i & 1];
		hashes[i & 1] ^= hashes[i & 1] >> 32;
	}
	return (hashes[0] ^ hashes[1]) << 32;
}

// 0 if packets with this key lead to a place. Of an element that is another key's by now it is none in use.
static __always_inline int find(const struct flow_key *key, struct flow_place *place)
{
	const volatile struct flow_place *known = bpf_map_lookup_elem(&flows, key);

	if (!known)
		return -1;
	place->use = known->use ^ seal(key);
	place->way = known->way;
	return 0;
}

// Under the lock of its state. The daemon ends a slot by its use and takes the lock afterwards to
// read it: what is counted here it sees, what comes later is not counted any more.
static __always_inline int is_in_use(const struct found *found)
{
	__u64 use = *found->use;

	return use == found->place.use && (__u32)use == *found->epoch;
}

// Flows of which an end is in another phase now, by their slots: the daemon asks for them then.
#define FLOW_CHANGES_LEN (1 << 20) /* src/flows.rs */

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, FLOW_CHANGES_LEN);
} flow_changes SEC(".maps");

// Beside a slot there: both ends have closed the connection, as far as could be seen without the lock.
#define FLOW_OVER (1u << 30)

// Whether an end of the flow may be in another phase behind the packet.
static __always_inline int may_change(const struct flow_state *state, __u32 way,
				      const struct plain *plain)
{
	return state->has_windows && may_take_on(&state->peers[!way], &plain->segment);
}

// Whether the numbers that a packet acknowledges can be put back into their sender's count. The answer to
// a SYN cannot: the number that its sender's are moved by is drawn when it comes.
static __always_inline int can_modulate(const struct flow_state *state, __u32 way,
					const struct segment *segment)
{
	return !state->shifts[!way] ||
	       (!(segment->flags & TCP_SYN) && segment->sack_at != SACK_UNKNOWN);
}

// Under the lock of the state: whether the packet is one of it.
static __always_inline int is_taken(struct flow_state *state, __u32 way, const struct plain *plain)
{
	const struct segment *segment = &plain->segment;

	if (state->has_windows)
		return can_modulate(state, way, segment) &&
		       takes(&state->peers[way], &state->peers[!way], segment,
			     state->shifts[!way]);
	// Decisions without a state are about segments without these, or SYNs alone.
	return !(segment->flags & TCP_ACK && segment->flags & TCP_CONTROL);
}

// What it becomes, if it is translated IPv6; nothing if nobody knows.
static __always_inline const struct ends_v6 *find_v6(const struct found *found,
						     const struct plain *plain)
{
	__u32 slot = found->place.way >> 1;

	if (!plain->is_v6 || found->state->ends[found->place.way & 1].act != TRANSLATE)
		return NULL;
	return bpf_map_lookup_elem(&flow_ends_v6, &slot);
}

// How many packets it stands for, if the packet is one of the state: then it has been counted and
// is to become what `change` says, and passes. `known` becomes `exit`, if there is one. A packet that
// waits for another state counts when that is asked: `decide`.
static __always_inline __u32 count_in(const struct found *found, const struct plain *plain, __u64 now,
				      struct change *change, const struct exit *exit,
				      struct exit *known)
{
	const struct ends_v6 *ends_v6 = find_v6(found, plain);
	struct flow_state *state = found->state;
	__u32 way = found->place.way & 1, packets = 0, *notice = NULL;
	__u64 reserved = 0, counts = (__u64)plain->waits - 1; /* all bits, or none */
	__u16 before;
	int changed = 0;

	// Nothing changes that cannot be told.
	if (may_change(state, way, plain)) {
		notice = bpf_ringbuf_reserve(&flow_changes, sizeof(*notice), 0);
		if (!notice)
			return 0;
		*notice = found->place.way >> 1 |
			  (may_end(&state->peers[way], &state->peers[!way], &plain->segment) ?
				   FLOW_OVER :
				   0);
		reserved = 1;
	}
	// Kernels before 6.2 forget that what was reserved is not null; a number they know. The compiler
	// shall not take the one for the other.
	asm volatile("" : "+r"(reserved));
	bpf_spin_lock(&state->lock);
	before = state->peers[0].phase << 8 | state->peers[1].phase;
	if (is_in_use(found) && (__s64)(now - state->last) < (__s64)state->lifetime &&
	    (ends_v6 || !plain->is_v6 || state->ends[way].act != TRANSLATE) &&
	    (reserved || !may_change(state, way, plain)) && is_taken(state, way, plain)) {
		changed = before != (state->peers[0].phase << 8 | state->peers[1].phase);
		state->undecided += plain->waits;
		state->traffic[way].packets += plain->packets & counts;
		state->traffic[way].bytes += plain->bytes & counts;
		if ((__s64)(now - state->last) > 0)
			state->last = now;
		change->ends = state->ends[way];
		if (ends_v6)
			change->v6 = ends_v6->ways[way];
		change->seq = state->shifts[way];
		change->ack = state->shifts[!way];
		if (exit)
			*known = *exit;
		packets = plain->packets;
	}
	bpf_spin_unlock(&state->lock);
	if (reserved && changed)
		bpf_ringbuf_submit(notice, 0);
	else if (reserved)
		bpf_ringbuf_discard(notice, 0);
	return packets;
}

// The same of what is aside, by the state's place; 0 as well if there is no such state. A function of its own
// that is not static: so a verifier goes through it once, whatever calls it. It does not know which of what it
// gets is null.
__noinline __u32 pass(struct aside *aside, const struct flow_place *place, __u64 now,
		      const struct exit *exit, __u32 leaves)
{
	struct found found;

	if (!aside || !place || find_place(place, &found))
		return 0;
	return count_in(&found, &aside->plain, now, leaves ? &aside->then : &aside->first, exit,
			&aside->exit);
}

// A packet on its way past a hook.
struct passing {
	struct flow_place place;
	struct aside *aside; /* the CPU's own */
	__u64 now;
};

// 0 if it can be looked at.
static __always_inline int begin(struct passing *passing)
{
	passing->now = bpf_ktime_get_coarse_ns();
	passing->aside = all_aside();
	if (!passing->aside)
		return -1;
	__builtin_memset(&passing->aside->plain, 0, sizeof(passing->aside->plain));
	__builtin_memset(&passing->aside->key, 0, sizeof(passing->aside->key));
	passing->aside->exit.use = 0;
	return 0;
}

// What a packet says is now what whoever looks at it next is told.
static __always_inline void retell(struct plain *plain, const struct change *to)
{
	plain->segment.seq += to->seq;
	plain->segment.ack -= to->ack;
}
