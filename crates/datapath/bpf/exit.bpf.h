// SPDX-License-Identifier: MIT OR GPL-2.0-only
//
// Fused flows: a packet that two states let pass, where it comes in and where it leaves, goes from
// the first hook to the wire, without the kernel's bridge or routing between. How is learnt from
// packets that went the ordinary way just before; one does again from time to time, so that the bridge
// and the neighbours hear of the flow, and whatever is learnt ends when the daemon hears of a change.

// Nanoseconds until the kernel is asked again.
#define EXIT_LIVES exit_lives
// Until then a flood has reached all its ports. Some ticks of the clock.
#define EXIT_BEGINS 10000000ull
#define NOTE_LIVES 10000000ull /* nanoseconds between both hooks, at most */
#define NOTES 16 /* a power of 2: what the kernel takes through a hook in one piece (gro_normal_batch) */

// A packet that has passed the hook by which it came in, and is on its way through the kernel:
// skb->tc_index tells its number.
struct note {
	struct flow_place place;
	__u64 when;
	struct flow_key key; /* addresses, ports and protocol are those that it has now */
	__u32 topology;
	__u16 number;
	__u8 hops;
	__u8 left; /* hooks by which it has left */
};

struct notes {
	__u64 made;
	struct note notes[NOTES];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct notes);
} flow_notes SEC(".maps");

// Moves on with every change of what the kernel does with packets; the daemon writes it.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} topology SEC(".maps");

// Interfaces with hooks. The daemon writes it.
#define EXIT_PORTS_MAX 1024 /* src/program.rs */

struct exit_port {
	__u32 neighbours; /* where its neighbours are known: itself, or its bridge */
	__u32 is_seen; /* no bridge floods a packet to it without other hooks seeing that */
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, EXIT_PORTS_MAX);
	__type(key, __u32);
	__type(value, struct exit_port);
} exit_ports SEC(".maps");

// lane.bpf.h
static __always_inline void end_lane(__u32 way);

static __always_inline int may_have_lane(const struct flow_key *key)
{
	return lanes_mask && key->protocol == IPPROTO_UDP;
}

// What of a packet whose flow may have a lane is not there any more when it leaves.
static __always_inline void keep(const struct flow_key *key, const struct passing *passing)
{
	struct aside *aside = passing->aside;

	if (!may_have_lane(key))
		return;
	aside->was.source = key->source[0];
	aside->was.destination = key->destination[0];
	aside->was.source_port = key->source_port;
	aside->was.destination_port = key->destination_port;
	aside->from = passing->place;
}

static __always_inline struct notes *all_notes(void)
{
	__u32 first = 0;

	return bpf_map_lookup_elem(&flow_notes, &first);
}

static __always_inline __u32 topology_now(void)
{
	__u32 first = 0;
	const volatile __u32 *now = bpf_map_lookup_elem(&topology, &first);

	return now ? *now : 0;
}

// The note of a packet that leaves, if this CPU has made one.
static __always_inline struct note *note_of(struct __sk_buff *skb)
{
	struct notes *notes = all_notes();
	__u16 number = skb->tc_index;
	struct note *note;

	if (!notes || !number)
		return NULL;
	note = &notes->notes[number % NOTES];
	return note->number == number ? note : NULL;
}

// Multicast and broadcast, of frames as of packets: they may have more than one receiver.
static __always_inline int is_to_group(const struct flow_key *key)
{
	if (key->ether[0] & 1)
		return 1;
	if (key->family == FAMILY_V6)
		return *(const __u8 *)key->destination == 0xff;
	return *(const __u8 *)key->destination >= 224;
}

static __always_inline int is_same_flow(const struct flow_key *a, const struct flow_key *b)
{
	__u32 difference = a->family ^ b->family;

	difference |= a->protocol ^ b->protocol;
	difference |= a->opens ^ b->opens;
	difference |= a->source_port ^ b->source_port;
	difference |= a->destination_port ^ b->destination_port;
#pragma unroll
	for (int i = 0; i < 4; i++) {
		difference |= a->source[i] ^ b->source[i];
		difference |= a->destination[i] ^ b->destination[i];
	}
	return !difference;
}

// Addresses of frames, both where a `__u32` may be.
static __always_inline int is_same_frame(const __u8 *a, const __u8 *b)
{
	const __u32 *left = (const __u32 *)a, *right = (const __u32 *)b;

	return left[0] == right[0] && left[1] == right[1] && left[2] == right[2];
}

static __always_inline int is_same_place(const struct flow_place *a, const struct flow_place *b)
{
	return a->use == b->use && a->way == b->way;
}

// What a packet is behind its translation.
static __always_inline void rename_ends(struct flow_key *key, const struct change *to)
{
	const struct ends *ends = &to->ends;

	if (ends->act != TRANSLATE)
		return;
	key->source_port = ends->source_port;
	key->destination_port = ends->destination_port;
	if (key->family == FAMILY_V6) {
		__builtin_memcpy(key->source, to->v6.source, sizeof(key->source));
		__builtin_memcpy(key->destination, to->v6.destination, sizeof(key->destination));
		return;
	}
	key->source[0] = ends->source;
	key->destination[0] = ends->destination;
}

// Notes a packet that goes the ordinary way. Its key is the one that it has now.
static __always_inline void note(struct __sk_buff *skb, const struct flow_key *key,
				 const struct passing *passing, __u32 topology)
{
	struct notes *notes = all_notes();
	struct note *note;
	__u16 number;

	if (!notes || is_to_group(key))
		return;
	number = ++notes->made;
	if (!number || number == owner.token)
		return;
	note = &notes->notes[number % NOTES];
	note->place = passing->place;
	note->when = passing->now;
	note->key = *key;
	note->topology = topology;
	note->number = number;
	note->hops = passing->aside->plain.hops;
	note->left = 0;
	skb->tc_index = number;
}

// Where a noted packet has come from, with the exit that it has; 0 if there is one.
static __always_inline int find_exit(const struct note *note, struct found *found,
				     struct exit **exit)
{
	__u32 way = note->place.way;

	*exit = bpf_map_lookup_elem(&flow_exits, &way);
	return *exit ? find_place(&note->place, found) : -1;
}

// Packets that leave more than once have no exit for some time.
static __always_inline void spoil(const struct note *note)
{
	struct found from;
	struct exit *exit;

	if (find_exit(note, &from, &exit))
		return;
	bpf_spin_lock(&from.state->lock);
	if (is_in_use(&from)) {
		exit->use = note->place.use;
		exit->learned = note->when;
		exit->topology = note->topology;
		exit->interface = 0;
		exit->told = LEARNT;
	}
	bpf_spin_unlock(&from.state->lock);
	end_lane(note->place.way);
}

// At every hook by which a noted packet, or a copy of it, leaves.
static __always_inline void count_leaving(struct __sk_buff *skb)
{
	struct note *note = note_of(skb);

	if (!note)
		return;
	if (note->left < 2 && ++note->left == 2)
		spoil(note);
}

// Learns from a packet, which passes, how it leaves.
static __always_inline void learn(struct __sk_buff *skb, const struct flow_key *key,
				  const struct passing *passing)
{
	struct note *note = note_of(skb);
	__u32 interface = skb->ifindex;
	__u16 longest = passing->aside->plain.longest;
	const struct exit_port *port;
	int is_same = 1;
	struct exit *exit;
	struct found from;
	__u8 hops;

	skb->tc_index = 0;
	if (!note || note->left != 1 || passing->now - note->when > NOTE_LIVES ||
	    is_to_group(key) || !is_same_flow(&note->key, key) ||
	    passing->aside->plain.longest > 0xffff)
		return;
	hops = note->hops - passing->aside->plain.hops;
	port = bpf_map_lookup_elem(&exit_ports, &interface);
	if (hops > 1 || !port || !port->is_seen || find_exit(note, &from, &exit))
		return;
	bpf_spin_lock(&from.state->lock);
	if (is_in_use(&from)) {
		is_same = exit->use == note->place.use && exit->topology == note->topology &&
			  exit->interface == interface && exit->hops == hops &&
			  is_same_place(&exit->out, &passing->place) &&
			  is_same_frame(exit->ether, key->ether);
		exit->learned = passing->now;
		exit->told = LEARNT;
		if (!is_same) {
			exit->use = note->place.use;
			exit->topology = note->topology;
			exit->interface = interface;
			exit->hops = hops;
			exit->out = passing->place;
			__builtin_memcpy(exit->ether, key->ether, sizeof(exit->ether));
			exit->begins = passing->now + EXIT_BEGINS;
			exit->longest = longest;
		} else if (longest > exit->longest) {
			exit->longest = longest;
		}
	}
	bpf_spin_unlock(&from.state->lock);
	if (!is_same)
		end_lane(note->place.way);
}

// 0 if the packet has lost the hops that routing would have taken.
static __always_inline int lose_hops(const struct frame *frame, const struct flow_key *key,
				     __u8 left, __u8 hops)
{
	__u8 fewer = left - hops;

	if (!hops)
		return 0;
	if (key->family == FAMILY_V6) {
		sum_of_nic(frame, (__u32)~bpf_htons(hops));
		return store(frame, ETH_HLEN + offsetof(struct ipv6hdr, hop_limit), &fewer,
			     sizeof(fewer));
	}
	// The checksum goes by words: TTL is the first byte of one.
	if (sum_of_header_word(frame, ETH_HLEN + offsetof(struct iphdr, check),
			       bpf_htons(left << 8 | key->protocol),
			       bpf_htons(fewer << 8 | key->protocol)))
		return -1;
	return store(frame, ETH_HLEN + offsetof(struct iphdr, ttl), &fewer, sizeof(fewer));
}

// 0 if the packet is as it leaves.
static __always_inline int dress(const struct frame *frame, const struct flow_key *key,
				 const struct passing *passing, struct exit *exit)
{
	if (apply(frame, key, &passing->aside->plain, &passing->aside->then))
		return -1;
	if (lose_hops(frame, key, passing->aside->plain.hops, exit->hops))
		return -1;
	if (exit->told == BY_GATEWAY || is_same_frame(exit->ether, key->ether))
		return 0;
	return store(frame, 0, exit->ether, sizeof(exit->ether));
}

// No hook looks at the packet again, which is as it leaves.
static __always_inline void let_out(struct __sk_buff *skb)
{
	skb->mark = MARK_OUT_DONE | MARK_FUSED;
	skb->tc_index = owner.token;
}

static __always_inline int send_out(struct __sk_buff *skb, const struct exit *exit)
{
	struct bpf_redir_neigh next_hop = { .nh_family = exit->topology };
	const struct exit_port *port;
	__u32 interface = exit->interface;

	let_out(skb);
	if (exit->told != BY_GATEWAY)
		return bpf_redirect(interface, 0);
	port = bpf_map_lookup_elem(&exit_ports, &interface);
	if (port)
		interface = port->neighbours;
	__builtin_memcpy(next_hop.ipv6_nh, exit->next_hop, sizeof(exit->next_hop));
	return bpf_redirect_neigh(interface, &next_hop, sizeof(next_hop), 0);
}

// Sends a packet out that has been counted as the engine has told.
static __always_inline int leave_as_told(struct __sk_buff *skb, const struct frame *frame,
					 struct flow_key *key, struct passing *passing,
					 struct exit *exit)
{
	struct change *then = &passing->aside->then;
	__u32 packets = passing->aside->plain.packets;

	// Where nothing knows it as it leaves, what is aside was another packet's.
	if (!exit->out.use) {
		then->ends.act = LET_PASS;
		then->seq = 0;
		then->ack = 0;
	}
	rename_ends(key, &passing->aside->first);
	if (dress(frame, key, passing, exit)) {
		count(UPCALL_FAILED, packets);
		return TC_ACT_SHOT;
	}
	if (exit->out.use) {
		count(CACHED, packets);
		count(FUSED, packets);
	}
	return send_out(skb, exit);
}

// Sends a packet out that has passed where it came in, if what knows it where it leaves lets it
// pass; otherwise it goes the ordinary way.
static __always_inline int leave(struct __sk_buff *skb, const struct frame *frame,
				 const struct flow_key *key, struct passing *passing,
				 struct exit *exit)
{
	__u32 packets = pass(passing->aside, &exit->out, passing->now, NULL, 1);

	if (!packets) {
		note(skb, key, passing, topology_now());
		return TC_ACT_UNSPEC;
	}
	if (dress(frame, key, passing, exit)) {
		count(UPCALL_FAILED, packets);
		return TC_ACT_SHOT;
	}
	count(CACHED, packets);
	count(FUSED, packets);
	if (may_have_lane(key))
		bpf_tail_call(skb, &fast_path, PAVE);
	return send_out(skb, exit);
}

// A packet that has passed where it came in.
static __always_inline int go_on(struct __sk_buff *skb, const struct frame *frame,
				 struct flow_key *key, struct passing *passing,
				 struct exit *exit)
{
	__u32 topology = topology_now();
	int is_known = exit->use == passing->place.use && exit->topology == topology &&
		       passing->now - exit->learned < EXIT_LIVES;
	int is_longer = passing->aside->plain.longest > exit->longest;

	rename_ends(key, &passing->aside->first);
	if (is_known && exit->interface && !is_longer && passing->now >= exit->begins &&
	    passing->aside->plain.hops > exit->hops)
		return leave(skb, frame, key, passing, exit);
	skb->tc_index = 0;
	if (!is_known || (exit->interface && is_longer))
		note(skb, key, passing, topology);
	return TC_ACT_UNSPEC;
}
