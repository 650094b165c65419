// SPDX-License-Identifier: MIT OR GPL-2.0-only
//
// Connections that differ from one that the engine has let open in the port of their opener alone:
// their SYNs pass, and their states are made here and told to the daemon, which makes its own of
// them before it does anything else. The layouts are repeated in src/flows/openings.rs; what a SYN
// makes of both ends is that of crates/pf-engine/src/tcp.rs.

#define FLOW_OPENINGS_MAX 4096 /* src/flows/openings.rs, and OPENINGS_MAX of the engine */
#define FLOW_GRANTS 4096 /* a power of 2 */
#define OPENED_BYTES 100 /* the longest SYN: IPv6, and TCP with all options that it can have */

struct opening {
	__u32 epoch;
	__u32 reserved;
	__u64 lifetime; /* as of a state */
};

// By the keys of SYNs, with 0 for the port of their source.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, FLOW_OPENINGS_MAX);
	__type(key, struct flow_key);
	__type(value, struct opening);
} flow_openings SEC(".maps");

// A slot that nothing is in, and the number that tells its next use from those before.
struct grant {
	__u32 slot;
	__u32 number;
};

// What the daemon has granted, one after the other and from the beginning again.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, FLOW_GRANTS);
	__type(key, __u32);
	__type(value, struct grant);
} flow_grants SEC(".maps");

// How many were granted so far; the daemon writes it.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} flow_granted SEC(".maps");

// How many of them were taken.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} flow_taken SEC(".maps");

// In `flow_changes`, among the changes: each grant that was taken is told once.
struct opened {
	__u64 use;
	__u64 when;
	struct flow_key key; /* of the opener's packets */
	__u32 slot;
	__u32 received_on;
	__u16 len;
	__u8 used; /* 0: nothing has come of it */
	__u8 reserved;
	__u8 packet[OPENED_BYTES];
};

#define GRANT_TRIES 4 /* CPUs that may be quicker before the packet goes up */

// 0 if there was one.
static __always_inline int take_grant(struct grant *grant)
{
	__u32 first = 0, number, at;
	const volatile __u32 *granted = bpf_map_lookup_elem(&flow_granted, &first);
	__u32 *taken = bpf_map_lookup_elem(&flow_taken, &first);
	const struct grant *known;

	if (!granted || !taken)
		return -1;
	for (int i = 0; i < GRANT_TRIES; i++) {
		number = *(const volatile __u32 *)taken;
		if (number == *granted)
			return -1;
		at = number % FLOW_GRANTS;
		known = bpf_map_lookup_elem(&flow_grants, &at);
		if (!known)
			return -1;
		*grant = *known;
		if (__sync_val_compare_and_swap(taken, number, number + 1) == number)
			return 0;
	}
	return -1;
}

// The key of answers where a packet has met the filter.
static __always_inline void turn(const struct flow_key *key, struct flow_key *turned)
{
	turned->interface = key->interface;
	turned->direction = !key->direction;
	turned->family = key->family;
	turned->protocol = key->protocol;
	turned->opens = 0;
	turned->source_port = key->destination_port;
	turned->destination_port = key->source_port;
	__builtin_memcpy(turned->ether, key->ether + ETH_ALEN, ETH_ALEN);
	__builtin_memcpy(turned->ether + ETH_ALEN, key->ether, ETH_ALEN);
	__builtin_memcpy(turned->source, key->destination, sizeof(turned->source));
	__builtin_memcpy(turned->destination, key->source, sizeof(turned->destination));
}

// What is known of both ends behind a SYN. A SYN's window is not scaled; what is kept is, rounded
// up.
static __always_inline void begin_state(struct flow_state *state, const struct plain *plain,
					__u64 lifetime, __u64 now)
{
	const struct segment *segment = &plain->segment;
	__u32 scale = segment->offers ? (segment->offers - 1) & 15 : 0;
	__u32 window = segment->window ? segment->window : 1;

	state->has_windows = 1;
	state->undecided = 0;
	state->lifetime = lifetime;
	state->last = now;
	__builtin_memset(state->traffic, 0, sizeof(state->traffic));
	__builtin_memset(state->peers, 0, sizeof(state->peers));
	__builtin_memset(state->ends, 0, sizeof(state->ends));
	__builtin_memset(state->shifts, 0, sizeof(state->shifts));
	state->peers[0].seq_lo = segment->seq;
	state->peers[0].seq_hi = segment->seq + 2;
	state->peers[0].max_win = (window + (1u << scale) - 1) >> scale;
	state->peers[0].offers = segment->offers;
	state->peers[0].phase = PHASE_SYN_SENT;
	state->peers[1].seq_hi = 1;
	state->peers[1].max_win = 1;
}

// 0 if packets with these keys lead to the place.
static __always_inline int add_keys(const struct flow_key *key, const struct flow_place *place)
{
	struct flow_key turned __attribute__((aligned(8)));
	struct flow_place sealed = { .use = place->use ^ seal(key), .way = place->way };

	turn(key, &turned);
	if (bpf_map_update_elem(&flows, key, &sealed, BPF_NOEXIST))
		return -1;
	sealed.use = place->use ^ seal(&turned);
	sealed.way |= 1;
	if (!bpf_map_update_elem(&flows, &turned, &sealed, BPF_NOEXIST))
		return 0;
	bpf_map_delete_elem(&flows, key);
	return -1;
}

// 0 if the state of the connection is where the record says.
static __always_inline int make_state(struct __sk_buff *skb, const struct flow_key *key,
				      struct passing *passing, __u64 lifetime,
				      struct opened *opened)
{
	struct plain *plain = &passing->aside->plain;
	__u32 len = plain->end - ETH_HLEN, first = 0;
	const volatile __u32 *epoch = bpf_map_lookup_elem(&flow_epoch, &first);
	struct grant grant = { .slot = opened->slot, .number = opened->use };
	struct flow_state *state = bpf_map_lookup_elem(&flow_states, &grant.slot);
	volatile __u64 *use = bpf_map_lookup_elem(&flow_uses, &grant.slot);

	// Verifiers shall know both bounds of the same register.
	asm volatile("" : "+r"(len));
	if (!epoch || !state || !use || len < sizeof(struct iphdr) || len > OPENED_BYTES ||
	    bpf_skb_load_bytes(skb, ETH_HLEN, opened->packet, len))
		return -1;
	opened->len = len;
	opened->use = (__u64)grant.number << 32 | *epoch;
	bpf_spin_lock(&state->lock);
	begin_state(state, plain, lifetime, passing->now);
	bpf_spin_unlock(&state->lock);
	passing->place.use = opened->use;
	passing->place.way = (__u64)grant.slot << 1;
	if (add_keys(key, &passing->place))
		return -1;
	// Nothing has passed by one key if the other could not be added.
	*use = opened->use;
	return 0;
}

// The lifetime of what a SYN may open here, and its key as that of the opener's packets; 0 if it
// may not.
static __always_inline __u64 find_opening(struct flow_key *key)
{
	__u32 first = 0;
	const __u32 *epoch = bpf_map_lookup_elem(&flow_epoch, &first);
	const struct opening *opening;
	__be16 port = key->source_port;

	key->source_port = 0;
	opening = bpf_map_lookup_elem(&flow_openings, key);
	key->source_port = port;
	key->opens = 0;
	if (!opening || !epoch || opening->epoch != *epoch || bpf_map_lookup_elem(&flows, key))
		return 0;
	return opening->lifetime;
}

// A frame of its own, of which the address may be taken.
static __always_inline int may_open(struct __sk_buff *skb)
{
	const struct frame frame = frame_of_skb(skb);

	return has_share(&frame, skb->ifindex, 1);
}

// 0 if the packet is a SYN that opens a connection as another has been let open one.
static __always_inline int open_flow(struct __sk_buff *skb, const struct frame *frame,
				     struct flow_key *key, struct passing *passing)
{
	const struct plain *plain = &passing->aside->plain;
	struct segment *segment = &passing->aside->plain.segment;
	struct opened *opened;
	struct grant grant;
	__u64 lifetime;
	__u32 at = plain->at;
	int made;

	if (!key->opens || segment->len || frame->segment)
		return -1;
	lifetime = find_opening(key);
	// Nor does it know a bound that kernels before 5.16 forget with what they spill.
	asm volatile("" : "+r"(at));
	if (!lifetime ||
	    read_options(frame, at, at + sizeof(struct tcphdr), plain->end, segment))
		return -1;
	// The daemon has work with it as with a packet that comes up.
	if (key->direction == IN && !may_open(skb))
		return -1;
	// Each grant is told: so there must be room to tell.
	opened = bpf_ringbuf_reserve(&flow_changes, sizeof(*opened), 0);
	if (!opened)
		return -1;
	if (take_grant(&grant)) {
		bpf_ringbuf_discard(opened, 0);
		return -1;
	}
	opened->slot = grant.slot;
	opened->use = grant.number;
	opened->when = passing->now;
	opened->key = *key;
	opened->received_on = key->direction == OUT ? skb->ingress_ifindex : 0;
	opened->len = 0;
	made = make_state(skb, key, passing, lifetime, opened);
	opened->used = !made;
	bpf_ringbuf_submit(opened, 0);
	return made;
}

// 0 if it is a TCP segment. The compiler keeps the verifier from seeing where it begins.
static __always_inline int read_segment(const struct frame *frame, struct flow_key *key,
					struct plain *plain)
{
	__u32 at;

	if (read_ip(frame, key, plain) || key->protocol != IPPROTO_TCP)
		return -1;
	at = plain->at;
	asm volatile("" : "+r"(at));
	if (at > ETH_HLEN + sizeof(struct ipv6hdr))
		return -1;
	plain->at = at;
	return read_tcp(frame, key, plain);
}

// Behind the look-up of a SYN that no flow knows.
static __always_inline int repeat_opening(struct __sk_buff *skb, enum direction direction)
{
	const struct frame frame = frame_of_skb(skb);
	struct passing passing = {};
	struct flow_key *key;

	// What its tag says of a packet is for the engine.
	if (skb->cb[PRIORITY_IN_CB] || begin(&passing))
		return send_up(skb, direction, 0, skb->cb[PRIORITY_IN_CB]);
	key = &passing.aside->key;
	key->interface = frame.interface;
	key->direction = direction;
	if (read_segment(&frame, key, &passing.aside->plain) ||
	    open_flow(skb, &frame, key, &passing))
		return send_up(skb, direction, 0, skb->cb[PRIORITY_IN_CB]);
	skb->mark = 0;
	skb->priority = 0;
	count(CACHED, 1);
	if (direction == OUT) {
		learn(skb, key, &passing);
		return TC_ACT_UNSPEC;
	}
	skb->tc_index = 0;
	note(skb, key, &passing, topology_now());
	return TC_ACT_UNSPEC;
}
