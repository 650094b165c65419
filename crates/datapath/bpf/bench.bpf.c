// SPDX-License-Identifier: MIT OR GPL-2.0-only
//
// What benchmarks need of the kernel: a generator of small frames, their end, and the least that a
// box between two ports can do. No part of the data path; src/bench.rs sets the constants.

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/pkt_cls.h>
#include <linux/udp.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

// The generator's frames. Numbers are in the CPU's byte order.
const volatile __u8 ethernet[ETH_ALEN * 2]; /* receiver, sender */
const volatile __u32 source; /* address of the first 2^FLOWS_PER_ADDRESS flows */
const volatile __u32 destination;
const volatile __u32 length; /* of the frame */
const volatile __u32 flows;
const volatile __u32 in_order; /* flow after flow instead of any */
const volatile __u32 out; /* interface that they leave by */

// The end counts what is for this port.
const volatile __u32 port;

#define FIRST_PORT 1024u
#define FLOWS_PER_ADDRESS 10 /* bits of a flow's number that are in its port */

#define HEADERS_LEN (sizeof(struct ethhdr) + sizeof(struct iphdr) + sizeof(struct udphdr))

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} arrived SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_DEVMAP);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} other_port SEC(".maps");

// What a box at least writes that knows each flow: one line of the CPU's cache of its own. The loader says how
// many there are, a power of 2.
struct line {
	__u64 packets;
	__u64 rest[7];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct line);
} lines SEC(".maps");

const volatile __u32 lines_mask;

static __u32 next_flow;

static __always_inline __u16 checksum(const struct iphdr *ip)
{
	const __u16 *words = (const __u16 *)ip;
	__u32 sum = 0;

#pragma unroll
	for (int i = 0; i < (int)sizeof(*ip) / 2; i++)
		sum += words[i];
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

// Frames come back to the generator as the box left them, so all of the headers is written.
SEC("xdp")
int generate(struct xdp_md *context)
{
	void *data = (void *)(long)context->data, *end = (void *)(long)context->data_end;
	struct ethhdr *frame = data;
	struct iphdr *ip = data + sizeof(*frame);
	struct udphdr *udp = data + sizeof(*frame) + sizeof(*ip);
	__u32 flow;

	if (data + HEADERS_LEN > end)
		return XDP_ABORTED;
	flow = in_order ? next_flow++ : bpf_get_prandom_u32();
	flow %= flows;

#pragma unroll
	for (int i = 0; i < ETH_ALEN; i++) {
		frame->h_dest[i] = ethernet[i];
		frame->h_source[i] = ethernet[ETH_ALEN + i];
	}
	frame->h_proto = bpf_htons(ETH_P_IP);
	__builtin_memset(ip, 0, sizeof(*ip));
	ip->version = 4;
	ip->ihl = sizeof(*ip) / 4;
	ip->tot_len = bpf_htons(length - sizeof(*frame));
	ip->ttl = 64;
	ip->protocol = IPPROTO_UDP;
	ip->saddr = bpf_htonl(source + (flow >> FLOWS_PER_ADDRESS));
	ip->daddr = bpf_htonl(destination);
	ip->check = checksum(ip);
	udp->source = bpf_htons(FIRST_PORT + (flow & ((1u << FLOWS_PER_ADDRESS) - 1)));
	udp->dest = bpf_htons(port);
	udp->len = bpf_htons(length - sizeof(*frame) - sizeof(*ip));
	udp->check = 0;
	return bpf_redirect(out, 0);
}

static __always_inline int is_counted(void *data, void *end)
{
	struct ethhdr *frame = data;
	struct iphdr *ip = data + sizeof(*frame);
	struct udphdr *udp = data + sizeof(*frame) + sizeof(*ip);
	__u32 key = 0;
	__u64 *count;

	if (data + HEADERS_LEN > end || frame->h_proto != bpf_htons(ETH_P_IP) ||
	    ip->protocol != IPPROTO_UDP || udp->dest != bpf_htons(port))
		return 0;
	count = bpf_map_lookup_elem(&arrived, &key);
	if (count)
		*count += 1;
	return 1;
}

SEC("xdp")
int end_xdp(struct xdp_md *context)
{
	return is_counted((void *)(long)context->data, (void *)(long)context->data_end) ? XDP_DROP :
											   XDP_PASS;
}

SEC("classifier")
int end_tcx(struct __sk_buff *skb)
{
	return is_counted((void *)(long)skb->data, (void *)(long)skb->data_end) ? TC_ACT_SHOT :
										   TC_ACT_UNSPEC;
}

SEC("classifier")
int redirect_tcx(struct __sk_buff *skb)
{
	return bpf_redirect(out, 0);
}

static __always_inline void count_flow(void *data, void *end)
{
	struct iphdr *ip = data + sizeof(struct ethhdr);
	struct udphdr *udp = data + sizeof(struct ethhdr) + sizeof(*ip);
	struct line *line;
	__u32 flow;

	if (data + HEADERS_LEN > end)
		return;
	flow = (bpf_ntohl(ip->saddr) << FLOWS_PER_ADDRESS) + bpf_ntohs(udp->source) - FIRST_PORT;
	flow &= lines_mask;
	line = bpf_map_lookup_elem(&lines, &flow);
	if (line)
		__sync_fetch_and_add(&line->packets, 1);
}

SEC("classifier")
int count_tcx(struct __sk_buff *skb)
{
	count_flow((void *)(long)skb->data, (void *)(long)skb->data_end);
	return bpf_redirect(out, 0);
}

SEC("xdp")
int count_xdp(struct xdp_md *context)
{
	count_flow((void *)(long)context->data, (void *)(long)context->data_end);
	return bpf_redirect_map(&other_port, 0, 0);
}

SEC("xdp")
int redirect_xdp(struct xdp_md *context)
{
	return bpf_redirect_map(&other_port, 0, 0);
}

char _license[] SEC("license") = "Dual MIT/GPL";
