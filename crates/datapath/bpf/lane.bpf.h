// SPDX-License-Identifier: MIT OR GPL-2.0-only
//
// Lanes: datagrams of fused flows, known by one line of the CPU's cache for each way, which counts
// them for both of their states. Made by a packet that goes by its two states, in force until the
// next one is to, or one that goes the ordinary way is due, or the daemon ends one of the states. It is no part of
// what decides: whatever has no lane goes by its states. The user's side is src/flows/lanes.rs.

#define LANES_MAX 65536 /* the loader says how many: a power of 2, or 1 for none */
#define LANES_IN_GROUP 8u /* places that a lane may have */
#define LANE_TIME_SHIFT 20 /* nanoseconds to the units of `until` */

// What `count` says of a lane: nothing of one that is free.
#define LANE_IS_OPEN (1ull << 63)
#define LANE_IS_CLAIMED (1ull << 62) /* by a CPU that fills it, and frees it if it cannot open it */
#define LANE_IS_GIVEN_UP (1ull << 61) /* by the daemon, while it is claimed */
#define LANE_ROUND_SHIFT 56 /* tells a lane from the one that had its place before */
#define LANE_ROUND_MASK 0x1f
// And what has passed since the daemon has taken the figures.
#define LANE_PACKETS_SHIFT 36 /* bytes are below: none has more than 65,535 */
#define LANE_PACKETS_MAX ((1u << 20) - 1)
#define LANE_NOTICE (1u << 17) /* packets behind which it is asked to take them */
// Beside a slot in `flow_changes`: its lanes are meant.
#define LANE_CHANGED (1u << 31)

// What the datagrams of a lane have in common beside what is in `lane_ends`. In words: what has just been
// written in parts is slow to be read as a whole.
struct lane_name {
	__u64 addresses; /* of IPv6 the last words, and the others folded */
	__u64 ports; /* and the interface */
	__u64 ether;
	__u32 ether_rest;
} __attribute__((packed, aligned(4)));

// A word that lies in memory as both halves do.
static __always_inline __u64 word_of(__u32 first, __u32 second)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	return (__u64)second << 32 | first;
#else
	return (__u64)first << 32 | second;
#endif
}

enum lane_needs { LANE_HOP = 1, LANE_DRESS = 2, LANE_BY_XDP = 4, LANE_IS_V6 = 8 };

struct lane {
	__u64 count;
	__u64 last; /* when its last packet passed, on the monotonic clock */
	struct lane_name name;
	__u32 until; /* 0 if it has ended */
	__u32 epoch;
	__u32 topology;
	__u32 out;
	__u16 longest;
	__u16 needs; /* enum lane_needs */
};

struct lane_end {
	__u32 way; /* of both states */
	__u32 out_way;
	__u64 use;
	__u64 out_use;
	__u8 ether[2 * ETH_ALEN]; /* as its frames leave */
	__u32 reserved;
	union {
		struct ends ends; /* IPv4 */
		__u32 rest[6]; /* of both addresses of IPv6 */
	};
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, LANES_MAX);
	__type(key, __u32);
	__type(value, struct lane);
} lanes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, LANES_MAX);
	__type(key, __u32);
	__type(value, struct lane_end);
} lane_ends SEC(".maps");

// 1 and the number of a way's lane; 0 for none. Written under the lock of its state. Values of arrays
// lie eight bytes apart, whatever they are.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 2 * FLOW_SLOTS_MAX);
	__type(key, __u32);
	__type(value, __u64);
} lane_of_way SEC(".maps");

// What of a datagram matters.
struct datagram {
	struct lane_name name;
	__u64 is_v6; /* as long as what old verifiers remember of the stack */
	__u32 rest[6];
	__u32 bytes;
	__u32 hops;
	__u32 at; /* of UDP's header */
};

// The words of IPv6 addresses that a name has not, so that nobody chooses names by them: equal names of equal
// words are of equal addresses.
static __always_inline __u64 fold(const __u32 *rest)
{
	__u64 hash = lanes_seed;

#pragma unroll
	for (int i = 0; i < 6; i++)
		hash = (hash ^ rest[i]) * 0x9e3779b97f4a7c15ull;
	return hash ^ hash >> 32;
}

// In one load each, for which x86 and Arm need no alignment.
#define word_at(type, data, at) (*(const type *)((data) + (at)))

static __always_inline int read_udp_of(const struct frame *frame, void *data, __u32 at,
				       struct datagram *datagram)
{
	__u32 len = bpf_ntohs(word_at(__be16, data, at + offsetof(struct udphdr, len)));
	__be16 port = word_at(__be16, data, at + offsetof(struct udphdr, dest));

	if (!port || len < sizeof(struct udphdr) || at + len > ETH_HLEN + datagram->bytes ||
	    ETH_HLEN + datagram->bytes > frame->len)
		return -1;
	datagram->at = at;
	datagram->name.ports = word_of(word_at(__u32, data, at), frame->interface);
	datagram->name.ether = word_at(__u64, data, 0);
	datagram->name.ether_rest = word_at(__u32, data, 8);
	return 0;
}

#define UDP_AT_V4 (ETH_HLEN + sizeof(struct iphdr))
#define UDP_AT_V6 (ETH_HLEN + sizeof(struct ipv6hdr))

static __always_inline int read_datagram_v4(const struct frame *frame, void *data, void *end,
					    struct datagram *datagram)
{
	const struct iphdr *ip = data + ETH_HLEN;

	if (data + UDP_AT_V4 + sizeof(struct udphdr) > end ||
	    word_at(__u8, data, ETH_HLEN) != 0x45 || ip->protocol != IPPROTO_UDP ||
	    ip->frag_off & ~bpf_htons(0x4000))
		return -1;
	datagram->name.addresses =
		word_at(__u64, data, ETH_HLEN + offsetof(struct iphdr, saddr));
	datagram->is_v6 = 0;
	datagram->bytes = bpf_ntohs(ip->tot_len);
	datagram->hops = ip->ttl;
	return read_udp_of(frame, data, UDP_AT_V4, datagram);
}

static __always_inline int read_datagram_v6(const struct frame *frame, void *data, void *end,
					    struct datagram *datagram)
{
	const struct ipv6hdr *ip = data + ETH_HLEN;

	if (data + UDP_AT_V6 + sizeof(struct udphdr) > end || ip->version != 6 ||
	    ip->nexthdr != IPPROTO_UDP)
		return -1;
	datagram->name.addresses =
		word_of(ip->saddr.in6_u.u6_addr32[3], ip->daddr.in6_u.u6_addr32[3]);
	__builtin_memcpy(datagram->rest, &ip->saddr, 12);
	__builtin_memcpy(datagram->rest + 3, &ip->daddr, 12);
	datagram->name.addresses ^= fold(datagram->rest);
	datagram->is_v6 = 1;
	datagram->bytes = sizeof(*ip) + bpf_ntohs(ip->payload_len);
	datagram->hops = ip->hop_limit;
	return read_udp_of(frame, data, UDP_AT_V6, datagram);
}

// 0 for a whole datagram without options whose headers are together: `read_plain` of what lanes are for.
static __always_inline int read_datagram(const struct frame *frame, struct datagram *datagram)
{
	void *data = data_of(frame), *end = end_of(frame);
	__be16 type;
	int failed;

	if (data + ETH_HLEN > end || frame->segment)
		return -1;
	type = word_at(__be16, data, offsetof(struct ethhdr, h_proto));
	if (type == bpf_htons(ETH_P_IP))
		failed = read_datagram_v4(frame, data, end, datagram);
	else if (type == bpf_htons(ETH_P_IPV6))
		failed = read_datagram_v6(frame, data, end, datagram);
	else
		failed = -1;
	// It stays in memory: the compiler would have registers for both families, and spill them all.
	asm volatile("" : : "r"(datagram) : "memory");
	return failed;
}

// The first place that a lane of this name may have.
static __always_inline __u32 lane_place(const struct lane_name *name)
{
	__u64 hash = (name->addresses ^ lanes_seed) * 0x9e3779b97f4a7c15ull;

	hash = (hash ^ hash >> 32 ^ name->ports) * 0xd6e8feb86659fd93ull;
	return hash >> 32 & lanes_mask;
}

static __always_inline int has_name(const struct lane *lane, const struct lane_name *name)
{
	return lane->name.addresses == name->addresses && lane->name.ports == name->ports &&
	       lane->name.ether == name->ether && lane->name.ether_rest == name->ether_rest;
}

// What is read by the pointer from now on is read behind `word`, on processors as well that read ahead.
static __always_inline struct lane *behind(struct lane *lane, __u64 word)
{
	asm volatile("%0 &= 0" : "+r"(word));
	return (void *)lane + word;
}

// The lane of a datagram, if there is one that may be used at all. `count` is what it has counted: it is
// read before the name, so that a lane is not taken for another that has its place by then.
static __always_inline struct lane *find_lane(const struct datagram *datagram, __u32 *place,
					      __u64 *count)
{
	__u32 first = lane_place(&datagram->name);
	struct lane *lane;

#pragma unroll
	for (__u32 i = 0; i < LANES_IN_GROUP; i++) {
		*place = first ^ i;
		lane = bpf_map_lookup_elem(&lanes, place);
		if (!lane)
			return NULL;
		*count = *(const volatile __u64 *)&lane->count;
		lane = behind(lane, *count);
		if (has_name(lane, &datagram->name) && *count & LANE_IS_OPEN)
			return lane;
	}
	return NULL;
}

// Of two datagrams of one name, which have not the same addresses if they are of IPv6.
static __always_inline int has_rest(const struct lane *lane, const struct lane_end *end,
				    const struct datagram *datagram)
{
	__u32 difference = 0;

	if (!(lane->needs & LANE_IS_V6))
		return !datagram->is_v6;
#pragma unroll
	for (int i = 0; i < 6; i++)
		difference |= end->rest[i] ^ datagram->rest[i];
	return datagram->is_v6 && !difference;
}

static __always_inline __u32 epoch_now(void)
{
	__u32 first = 0;
	const volatile __u32 *now = bpf_map_lookup_elem(&flow_epoch, &first);

	return now ? *now : 0;
}

// How far the monotonic clock is ahead of the jiffies: with a jiffy's nanoseconds that is as coarse a clock as
// the kernel's own, without a call for each datagram. Told anew by each packet that makes a lane or renews it.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} lane_clock SEC(".maps");

static __always_inline __u64 nanoseconds_of_jiffies(void)
{
	return bpf_jiffies64() * jiffy_ns;
}

static __always_inline void set_lane_clock(void)
{
	__u32 first = 0;
	__u64 *ahead = bpf_map_lookup_elem(&lane_clock, &first);
	__u64 is_ahead = bpf_ktime_get_coarse_ns() - nanoseconds_of_jiffies();

	// All CPUs read it with each datagram.
	if (ahead && *ahead != is_ahead)
		*ahead = is_ahead;
}

static __always_inline __u64 lane_clock_now(void)
{
	__u32 first = 0;
	const volatile __u64 *ahead = bpf_map_lookup_elem(&lane_clock, &first);

	return ahead ? *ahead + nanoseconds_of_jiffies() : 0;
}

static __always_inline __u32 lane_time(__u64 nanoseconds)
{
	return nanoseconds >> LANE_TIME_SHIFT;
}

// Whether what holds until then still holds: of a lane that nobody has used for so long that the numbers
// have gone round it does not.
static __always_inline int is_ahead(__u32 until, __u32 now)
{
	return until - now - 1 <= lane_time(EXIT_LIVES) + 1;
}

// Asks the daemon for a slot's lanes; 0 if it will hear of it.
static __always_inline int tell_of_lane(__u32 way)
{
	__u32 slot = way >> 1 | LANE_CHANGED;

	return bpf_ringbuf_output(&flow_changes, &slot, sizeof(slot), 0);
}

// What a lane says of how the packet leaves that it has counted. Read before: as long as its count is what it
// was, it is nobody else's.
struct ticket {
	__u32 needs;
	struct ends ends;
	__u8 ether[2 * ETH_ALEN];
};

// Whether the datagram may go by the lane at this time.
static __always_inline int may_ride(const struct lane *lane, __u64 now, const struct lane_end *end,
				    const struct datagram *datagram)
{
	return lane->epoch == epoch_now() && lane->topology == topology_now() &&
	       is_ahead(lane->until, lane_time(now)) && datagram->bytes <= lane->longest &&
	       datagram->hops > (lane->needs & LANE_HOP) && has_rest(lane, end, datagram);
}

// Whether the datagram has been counted. Another CPU may count at the same time: then one of both goes by its
// states.
static __always_inline int count_rider(struct lane *lane, __u64 before, __u64 now,
				       const struct lane_end *end, const struct datagram *datagram)
{
	__u64 behind = before + (1ull << LANE_PACKETS_SHIFT) + datagram->bytes;
	__u32 packets = behind >> LANE_PACKETS_SHIFT & LANE_PACKETS_MAX;
	int is_notice = !(packets & (LANE_NOTICE - 1));
	__u32 way = 0;

	if (!packets)
		return 0;
	// What is in `end` is another line of the CPU's cache: most packets need none of it.
	if (is_notice)
		way = end->way;
	if (__sync_val_compare_and_swap(&lane->count, before, behind) != before)
		return 0;
	lane->last = now;
	if (is_notice)
		tell_of_lane(way);
	return 1;
}

// 0 if the datagram is as it leaves.
static __always_inline int dress_rider(const struct frame *frame, const struct ticket *ticket,
				       const struct datagram *datagram)
{
	const __u32 *addresses = (const __u32 *)&datagram->name.addresses;
	__u32 sum = checksum_of(IPPROTO_UDP, datagram->at);
	struct flow_key key = {
		.family = datagram->is_v6 ? FAMILY_V6 : FAMILY_V4,
		.protocol = IPPROTO_UDP,
		.source = { addresses[0] },
		.destination = { addresses[1] },
	};

	__builtin_memcpy(&key.source_port, &datagram->name.ports, sizeof(__u32));
	if (!datagram->is_v6 && ticket->ends.act == TRANSLATE &&
	    (set_addresses(frame, &key, &ticket->ends, sum) ||
	     set_ports(frame, &key, datagram->at, &ticket->ends, sum)))
		return -1;
	if (lose_hops(frame, &key, datagram->hops, ticket->needs & LANE_HOP))
		return -1;
	return store(frame, 0, (void *)ticket->ether, sizeof(ticket->ether));
}

enum rider { STAYS, RIDES, FAILS };

// Counts a datagram that does not leave as it came, and dresses it. Apart from what counts others: verifiers
// before 6.3 do not know that nobody reads a ticket that was not filled.
static __always_inline enum rider ride_dressed(const struct frame *frame, struct lane *lane,
					       __u64 before, __u64 now, const struct lane_end *end,
					       const struct datagram *datagram)
{
	struct ticket ticket = { .needs = lane->needs, .ends = end->ends };

	__builtin_memcpy(ticket.ether, end->ether, sizeof(end->ether));
	if (!count_rider(lane, before, now, end, datagram))
		return STAYS;
	return dress_rider(frame, &ticket, datagram) ? FAILS : RIDES;
}

static __always_inline enum rider ride(const struct frame *frame, struct lane *lane, __u64 before,
				       const struct lane_end *end, const struct datagram *datagram)
{
	__u64 now = lane_clock_now();

	if (!may_ride(lane, now, end, datagram))
		return STAYS;
	if (lane->needs & LANE_DRESS)
		return ride_dressed(frame, lane, before, now, end, datagram);
	return count_rider(lane, before, now, end, datagram) ? RIDES : STAYS;
}

// What became of a packet that may have a lane; `out` is where it leaves.
static __always_inline enum rider take_lane(const struct frame *frame, __u32 *out)
{
	struct datagram datagram __attribute__((aligned(8)));
	const struct lane_end *end;
	struct lane *lane;
	__u64 count;
	__u32 place;

	if (!lanes_mask || read_datagram(frame, &datagram))
		return STAYS;
	lane = find_lane(&datagram, &place, &count);
	if (!lane || (frame->is_xdp && !(lane->needs & LANE_BY_XDP)))
		return STAYS;
	end = bpf_map_lookup_elem(&lane_ends, &place);
	*out = lane->out;
	return end ? ride(frame, lane, count, end, &datagram) : STAYS;
}

// What a lane is made of.
struct track {
	const struct aside *aside;
	struct found from;
	struct found then;
	const struct exit *known; /* what is known of the way now */
	__u64 *of_way;
	__u64 *of_out_way;
};

// What lives shorter behind its last packet has no lanes.
#define LANE_STATE_LIVES 2000000000ull
// Who has been still for so long has his place taken by who finds none.
#define LANE_IDLE (EXIT_LIVES / 5)

// Whether lanes may keep packets from it for half of its life.
static __always_inline int lives_long(const struct found *found)
{
	return found->state->lifetime >= LANE_STATE_LIVES;
}

// Until half of what the state lives behind this packet is over.
static __always_inline __u64 half_life(const struct found *found)
{
	return found->state->last + found->state->lifetime / 2;
}

static __always_inline __u64 sooner(__u64 a, __u64 b)
{
	return a < b ? a : b;
}

// Until the kernel is to be asked again, or a state hears of a packet again that would end for the cache
// otherwise: whoever has no lane is asked about by its states.
static __always_inline __u32 lane_until(const struct track *track)
{
	__u64 asked = track->aside->exit.learned + EXIT_LIVES;
	__u64 told = sooner(half_life(&track->from), half_life(&track->then));

	return lane_time(sooner(asked, told)) | 1;
}

// Ends the lane of a way that has its place there: at once, and for good if the daemon hears of it.
static __always_inline void end_lane_at(__u32 place, __u32 way)
{
	struct lane *lane = bpf_map_lookup_elem(&lanes, &place);
	const struct lane_end *end = bpf_map_lookup_elem(&lane_ends, &place);

	if (!lane || !end || !lane->until || (end->way != way && end->out_way != way))
		return;
	lane->until = tell_of_lane(way) ? (lane_time(bpf_ktime_get_coarse_ns()) - 1) | 1 : 0;
}

// The way is another now, or none: its packets find it again.
static __always_inline void end_lane(__u32 way)
{
	const __u64 *number = bpf_map_lookup_elem(&lane_of_way, &way);
	__u32 place;

	if (!number || !*number)
		return;
	place = *number - 1;
	end_lane_at(place, way);
}

// Whether packets may leave by an interface at its driver, as lanes say it.
static __always_inline __u16 by_xdp(__u32 interface)
{
	return bpf_map_lookup_elem(&xdp_ports, &interface) ? LANE_BY_XDP : 0;
}

// Whether the way is still what the packet has found it to be. Under the lock of its first state, which is that
// of its exit.
static __always_inline int is_still(const struct track *track)
{
	const struct exit *now = track->known, *then = &track->aside->exit;

	return is_in_use(&track->from) && now->use == then->use && now->interface == then->interface &&
	       now->topology == then->topology && now->hops == then->hops &&
	       is_same_place(&now->out, &then->out) && is_same_frame(now->ether, then->ether);
}

// A lane is told again that it holds, or ends.
static __always_inline void renew_lane(__u32 place, const struct track *track)
{
	struct lane *lane = bpf_map_lookup_elem(&lanes, &place);
	const struct lane_end *end = bpf_map_lookup_elem(&lane_ends, &place);
	const struct exit *exit = &track->aside->exit;
	__u16 at_driver = by_xdp(exit->interface);
	int is_renewed = 0;

	if (!lane || !end || !lane->until || end->use != track->from.place.use ||
	    end->way != track->from.place.way)
		return;
	bpf_spin_lock(&track->from.state->lock);
	if (is_still(track) && *track->of_way == (__u64)place + 1 && lane->until &&
	    end->out_use == exit->out.use && end->out_way == exit->out.way &&
	    lane->out == exit->interface && (lane->needs & LANE_HOP) == exit->hops &&
	    is_same_frame(end->ether, exit->ether)) {
		lane->longest = exit->longest;
		lane->needs = (lane->needs & ~LANE_BY_XDP) | at_driver;
		asm volatile("" : : : "memory"); /* in this order */
		lane->topology = exit->topology;
		lane->until = lane_until(track);
		is_renewed = 1;
	}
	bpf_spin_unlock(&track->from.state->lock);
	if (!is_renewed)
		end_lane_at(place, track->from.place.way);
	// Nobody may have heard of it, if the ring was full.
	else if ((lane->count >> LANE_PACKETS_SHIFT & LANE_PACKETS_MAX) >= LANE_NOTICE)
		tell_of_lane(track->from.place.way);
}

// Where all places are taken, and one by a flow that has been still for some time, the daemon frees that.
static __always_inline void end_idle_lane(__u32 first)
{
	__u64 now = bpf_ktime_get_coarse_ns();

#pragma unroll
	for (__u32 i = 0; i < LANES_IN_GROUP; i++) {
		__u32 place = first ^ i;
		const struct lane *lane = bpf_map_lookup_elem(&lanes, &place);
		const struct lane_end *end = bpf_map_lookup_elem(&lane_ends, &place);

		if (!lane || !end)
			return;
		if (lane->until && lane->count & LANE_IS_OPEN &&
		    (__s64)(now - lane->last) > (__s64)LANE_IDLE) {
			end_lane_at(place, end->way);
			return;
		}
	}
}

// A free place among those that the lane may have, which is free no more; -1 if there is none.
static __always_inline int claim_lane(const struct lane_name *name, __u64 claim, __u32 *place)
{
	__u32 first = lane_place(name);
	struct lane *lane;

#pragma unroll
	for (__u32 i = 0; i < LANES_IN_GROUP; i++) {
		*place = first ^ i;
		lane = bpf_map_lookup_elem(&lanes, place);
		if (!lane)
			return -1;
		if (!lane->count && !__sync_val_compare_and_swap(&lane->count, 0, claim))
			return 0;
	}
	end_idle_lane(first);
	return -1;
}

// As the packet came in.
static __always_inline void name_lane(const struct track *track, struct lane_name *name)
{
	const struct flow_key *key = &track->aside->key;
	const struct ends *was = &track->aside->was;
	const __u32 *ether = (const __u32 *)key->ether;

	if (key->family == FAMILY_V4) {
		name->addresses = word_of(was->source, was->destination);
	} else {
		__u32 rest[6] = { key->source[0],      key->source[1],	   key->source[2],
				  key->destination[0], key->destination[1], key->destination[2] };

		name->addresses = word_of(key->source[3], key->destination[3]) ^ fold(rest);
	}
	name->ports = word_of(*(const __u32 *)&was->source_port, key->interface);
	name->ether = word_of(ether[0], ether[1]);
	name->ether_rest = ether[2];
}

static __always_inline void fill_end(struct lane_end *end, const struct track *track)
{
	const struct flow_key *key = &track->aside->key;
	const struct exit *exit = &track->aside->exit;

	end->way = track->from.place.way;
	end->out_way = exit->out.way;
	end->use = track->from.place.use;
	end->out_use = exit->out.use;
	__builtin_memcpy(end->ether, exit->ether, sizeof(end->ether));
	if (key->family == FAMILY_V4) {
		end->ends = track->aside->then.ends.act == TRANSLATE ?
				    track->aside->then.ends :
				    track->aside->first.ends;
		return;
	}
	__builtin_memcpy(end->rest, key->source, 12);
	__builtin_memcpy(end->rest + 3, key->destination, 12);
}

static __always_inline void fill_lane(struct lane *lane, const struct lane_name *name,
				      const struct track *track)
{
	const struct aside *aside = track->aside;
	const struct exit *exit = &aside->exit;
	int is_dressed = exit->hops || !is_same_frame(exit->ether, aside->key.ether) ||
			 aside->first.ends.act == TRANSLATE || aside->then.ends.act == TRANSLATE;

	lane->last = track->from.state->last;
	lane->name = *name;
	lane->longest = exit->longest;
	lane->until = lane_until(track);
	lane->epoch = track->from.place.use;
	lane->topology = exit->topology;
	lane->out = exit->interface;
	lane->needs = (exit->hops ? LANE_HOP : 0) | (is_dressed ? LANE_DRESS : 0) |
		      (aside->key.family == FAMILY_V6 ? LANE_IS_V6 : 0) |
		      by_xdp(exit->interface);
}

// Whether the state's way has this lane and no other from now on.
static __always_inline int hold_lane(const struct track *track, const struct found *found,
				     __u64 *of_way, __u32 number)
{
	int is_held = 0;

	bpf_spin_lock(&found->state->lock);
	if (is_in_use(found) && !*of_way && (found != &track->from || is_still(track))) {
		*of_way = number;
		is_held = 1;
	}
	bpf_spin_unlock(&found->state->lock);
	return is_held;
}

static __always_inline void let_lane_go(__u64 *of_way, __u32 number)
{
	__sync_val_compare_and_swap(of_way, (__u64)number, 0);
}

// Lets datagrams use it, if both states are still there; then the daemon finds it by either.
static __always_inline void open_lane(struct lane *lane, __u32 number, const struct track *track,
				      __u64 claim)
{
	__u64 open = LANE_IS_OPEN | (claim & LANE_ROUND_MASK) << LANE_ROUND_SHIFT;

	if (hold_lane(track, &track->from, track->of_way, number) &&
	    hold_lane(track, &track->then, track->of_out_way, number) &&
	    __sync_val_compare_and_swap(&lane->count, claim, open) == claim)
		return;
	let_lane_go(track->of_way, number);
	let_lane_go(track->of_out_way, number);
	*(volatile __u64 *)&lane->count = 0;
}

static __always_inline void begin_lane(const struct track *track)
{
	__u64 claim = LANE_IS_CLAIMED | track->from.place.use >> 32;
	struct lane_name name;
	struct lane_end *end;
	struct lane *lane;
	__u32 place;

	name_lane(track, &name);
	if (claim_lane(&name, claim, &place))
		return;
	lane = bpf_map_lookup_elem(&lanes, &place);
	end = bpf_map_lookup_elem(&lane_ends, &place);
	if (!lane || !end)
		return;
	fill_end(end, track);
	fill_lane(lane, &name, track);
	open_lane(lane, place + 1, track, claim);
}

// Behind a packet that leaves by its two states: the next ones need not ask them.
static __always_inline void pave(const struct aside *aside)
{
	struct track track = { .aside = aside };
	__u32 way = aside->from.way, out_way = aside->exit.out.way;

	// What of IPv6 is translated goes by its states: a lane has no room for such ends.
	if (aside->key.family == FAMILY_V6 &&
	    (aside->first.ends.act == TRANSLATE || aside->then.ends.act == TRANSLATE))
		return;
	if (aside->exit.told != LEARNT || find_place(&aside->from, &track.from) || find_place(&aside->exit.out, &track.then))
		return;
	track.known = bpf_map_lookup_elem(&flow_exits, &way);
	track.of_way = bpf_map_lookup_elem(&lane_of_way, &way);
	track.of_out_way = bpf_map_lookup_elem(&lane_of_way, &out_way);
	if (!track.known || !track.of_way || !track.of_out_way)
		return;
	set_lane_clock();
	if (*track.of_way)
		renew_lane(*track.of_way - 1, &track);
	else if (!*track.of_out_way && lives_long(&track.from) && lives_long(&track.then))
		begin_lane(&track);
}
