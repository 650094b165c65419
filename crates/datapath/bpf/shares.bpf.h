// SPDX-License-Identifier: MIT OR GPL-2.0-only
//
// Shares of what comes up: while more comes than the daemon takes, no source and no interface has
// more than a share that the daemon sets. It decides nothing: who is above his share waits, that is
// his packet is lost as it would be in a full queue. The layout of `struct shares` is repeated in
// src/shares.rs.
//
// A share is kept by the virtual scheduling algorithm of ITU-T I.371 (annex A): of each there is
// known when his next packet is due. Two CPUs may forget one of two packets that come at once:
// that lets one more up.

#define SHARES_OF_SOURCES_MAX 16384
#define SHARES_OF_INTERFACES_MAX 1024
#define SHARE_PREFIX_V6 8 /* bytes of an address that a host does not choose (RFC 4291, 2.5.1) */

struct share {
	__u64 interval; /* nanoseconds from one packet to the next; 0: as many as come */
	__u64 tolerance; /* how much too early a packet may come */
};

struct shares {
	struct share source;
	struct share interface;
};

// The shares in force; all 0 while there is no need.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct shares);
} upcall_shares SEC(".maps");

// Of IPv6 the network of 64 bits.
struct share_key {
	__u32 interface;
	__be16 family;
	__u16 reserved;
	__u8 address[SHARE_PREFIX_V6];
};

// When the next packet of a source is due. Whoever has the most addresses pushes others out, who
// then have their tolerance anew.
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, SHARES_OF_SOURCES_MAX);
	__type(key, struct share_key);
	__type(value, __u64);
} upcall_sources SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, SHARES_OF_INTERFACES_MAX);
	__type(key, __u32);
	__type(value, __u64);
} upcall_interfaces SEC(".maps");

static __always_inline int is_within(const struct share *share, void *map, const void *key,
				     __u64 now, __u32 packets)
{
	__u64 *due, next;

	if (!share->interval)
		return 1;
	due = bpf_map_lookup_elem(map, key);
	next = due && *due > now ? *due : now;
	if (next - now > share->tolerance)
		return 0;
	next += share->interval * packets;
	if (due)
		*due = next;
	else
		bpf_map_update_elem(map, key, &next, BPF_ANY);
	return 1;
}

// 0 if it is an IP packet.
static __always_inline int read_source(const struct frame *frame, struct share_key *key)
{
	if (load(frame, offsetof(struct ethhdr, h_proto), &key->family, sizeof(key->family)))
		return -1;
	if (key->family == bpf_htons(ETH_P_IP))
		return load(frame, ETH_HLEN + offsetof(struct iphdr, saddr), key->address,
			    sizeof(__be32));
	if (key->family == bpf_htons(ETH_P_IPV6))
		return load(frame, ETH_HLEN + offsetof(struct ipv6hdr, saddr), key->address,
			    sizeof(key->address));
	return -1;
}

// Whether so many packets that came in by an interface may come up: also where they leave, for the cache may
// have let them in. What the box sends itself has no share.
static __always_inline int has_share(const struct frame *frame, __u32 came_by, __u32 packets)
{
	__u32 first = 0;
	struct share_key key = { .interface = came_by };
	struct shares *shares = bpf_map_lookup_elem(&upcall_shares, &first);
	__u64 now;

	if (!shares || (!shares->source.interval && !shares->interface.interval))
		return 1;
	now = bpf_ktime_get_ns();
	if (!read_source(frame, &key) &&
	    !is_within(&shares->source, &upcall_sources, &key, now, packets))
		return 0;
	return is_within(&shares->interface, &upcall_interfaces, &came_by, now, packets);
}
