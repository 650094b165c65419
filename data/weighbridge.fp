; Weighbridge's own signatures of TCP stacks, 2000 to 2026. MIT or Apache-2.0, as the program.
;
; The grammar is that of p0f 3 with one extension: a window `mss*max` is the largest multiple of
; the MSS that fits into 16 bits, which is what Linux since 4.19 and Windows since 10 announce:
; one signature for every MTU (of a SYN+ACK with timestamps: of the MSS less 12). With `*` as IP
; version the quirks of IPv4 (df, id+, id-) count for IPv4 alone, and a flow label of IPv6 is no
; quirk.
;
; Each entry says where it comes from:
;   [defaults]  documented defaults of the stack: the kernel's sources and manuals, RFCs
;   [measured]  sent by that kernel in a network namespace, with its settings changed
;   [observed]  seen of hosts that told their system otherwise (User-Agent, banner)
;   [pf.os]     a fact from OpenBSD's pf.os (ISC licence)
;   [tool]      the packet is written by the program itself, as its sources say
; Where two systems cannot be told apart the label says so. A label of type g is a last resort.

classes = win,unix,other

[mtu]
; [defaults] RFC 894
label = Ethernet or modem
sig   = 1500
; [defaults] RFC 2516, PPPoE
label = DSL
sig   = 1492
; [defaults] PPPoE less a GRE or IPIP header
label = DSL (PPPoE in a tunnel)
sig   = 1472
sig   = 1468
; [defaults] NTT's access network
label = Flets (PPPoE)
sig   = 1454
; [defaults] RFC 2784: 24 bytes
label = GRE
sig   = 1476
; [defaults] RFC 2003: 20 bytes
label = IPIP or SIT
sig   = 1480
; [defaults] the platform's network
label = Google Cloud
sig   = 1460
; [defaults] RFC 7348: 50 bytes
label = VXLAN
sig   = 1450
; [defaults] wg-quick(8): 80 bytes
label = WireGuard
sig   = 1420
; [defaults] OpenVPN, IPsec clients, mobile networks
label = VPN
sig   = 1400
sig   = 1428
sig   = 1430
sig   = 1358
sig   = 1350
; [defaults] RFC 8200, section 5
label = smallest MTU of IPv6
sig   = 1280
; [defaults] RFC 791: 576 bytes
label = smallest MTU of IPv4
sig   = 576
; [defaults] drivers' usual maximum
label = jumbo Ethernet
sig   = 9000
; [defaults] the platform's network
label = Amazon EC2
sig   = 9001
; [defaults] Linux, macOS
label = loopback
sig   = 16384
sig   = 16436
sig   = 65535

[tcp:request]

; ----- Linux: the window is a multiple of the MSS by tcp_select_initial_window(), the scale is
; ilog2(tcp_rmem[2]) - 15: 7 for the 6 MiB of old, 10 for 32 MiB.

; [measured] 6.18, tcp_rmem as it is
label = s:unix:Linux:6.16 and newer
sig   = *:64:0:*:mss*max,10:mss,sok,ts,nop,ws:df,id+:0
sig   = *:64:0:*:mss*max,10:mss,sok,ts,nop,ws:df,id+,ecn:0
; [measured] 6.18 with tcp_rmem of 6 MiB
label = s:unix:Linux:4.19 to 6.15
sig   = *:64:0:*:mss*max,7:mss,sok,ts,nop,ws:df,id+:0
sig   = *:64:0:*:mss*max,7:mss,sok,ts,nop,ws:df,id+,ecn:0
; [measured] 6.18, tcp_rmem of 16 MiB and more
label = s:unix:Linux:4.19 and newer (receive buffer raised)
sig   = *:64:0:*:mss*max,8:mss,sok,ts,nop,ws:df,id+:0
sig   = *:64:0:*:mss*max,9:mss,sok,ts,nop,ws:df,id+:0
sig   = *:64:0:*:mss*max,11:mss,sok,ts,nop,ws:df,id+:0
sig   = *:64:0:*:mss*max,12:mss,sok,ts,nop,ws:df,id+:0
sig   = *:64:0:*:mss*max,13:mss,sok,ts,nop,ws:df,id+:0
sig   = *:64:0:*:mss*max,14:mss,sok,ts,nop,ws:df,id+:0
; [measured] 6.18, tcp_timestamps=0
label = s:unix:Linux:4.19 and newer (no timestamps)
sig   = *:64:0:*:mss*max,7:mss,nop,nop,sok,nop,ws:df,id+:0
sig   = *:64:0:*:mss*max,10:mss,nop,nop,sok,nop,ws:df,id+:0
; [measured] 6.18, tcp_sack=0
label = s:unix:Linux:4.19 and newer (no SACK)
sig   = *:64:0:*:mss*max,7:mss,nop,nop,ts,nop,ws:df,id+:0
sig   = *:64:0:*:mss*max,10:mss,nop,nop,ts,nop,ws:df,id+:0
; [measured] 6.18, tcp_window_scaling=0
label = s:unix:Linux:4.19 and newer (no window scaling)
sig   = *:64:0:*:mss*max,0:mss,sok,ts:df,id+:0
; [defaults] RFC 8684 MP_CAPABLE behind Linux' options
label = s:unix:Linux:5.6 and newer (MPTCP)
sig   = *:64:0:*:mss*max,7:mss,sok,ts,nop,ws,?30:df,id+:0
sig   = *:64:0:*:mss*max,10:mss,sok,ts,nop,ws,?30:df,id+:0

; [defaults] an initial receive window of 20 segments
label = s:unix:Linux:3.11 to 4.18
sig   = *:64:0:*:mss*20,7:mss,sok,ts,nop,ws:df,id+:0
sig   = *:64:0:*:mss*20,8:mss,sok,ts,nop,ws:df,id+:0
sig   = *:64:0:*:mss*20,9:mss,sok,ts,nop,ws:df,id+:0
sig   = *:64:0:*:mss*20,10:mss,sok,ts,nop,ws:df,id+:0
sig   = *:64:0:*:mss*20,7:mss,sok,ts,nop,ws:df,id+,ecn:0
; [defaults] tcp_timestamps=0
label = s:unix:Linux:3.11 to 4.18 (no timestamps)
sig   = *:64:0:*:mss*20,7:mss,nop,nop,sok,nop,ws:df,id+:0
; [defaults] half of 87,380 bytes
label = s:unix:Linux:3.11 to 4.18 (loopback)
sig   = *:64:0:*:43690,7:mss,sok,ts,nop,ws:df,id+:0
sig   = *:64:0:*:43690,9:mss,sok,ts,nop,ws:df,id+:0

; [defaults] RFC 6928's ten segments
label = s:unix:Linux:3.0 to 3.10
sig   = *:64:0:*:mss*10,4:mss,sok,ts,nop,ws:df,id+:0
sig   = *:64:0:*:mss*10,5:mss,sok,ts,nop,ws:df,id+:0
sig   = *:64:0:*:mss*10,6:mss,sok,ts,nop,ws:df,id+:0
sig   = *:64:0:*:mss*10,7:mss,sok,ts,nop,ws:df,id+:0
sig   = *:64:0:*:mss*10,8:mss,sok,ts,nop,ws:df,id+:0
sig   = *:64:0:*:mss*10,7:mss,nop,nop,sok,nop,ws:df,id+:0
; [defaults] the out-of-tree MPTCP of that time
label = s:unix:Linux:3.x (MPTCP)
sig   = *:64:0:*:mss*10,6:mss,sok,ts,nop,ws,?30:df,id+:0
sig   = *:64:0:*:mss*20,7:mss,sok,ts,nop,ws,?30:df,id+:0

; [defaults] RFC 3390's four segments
label = s:unix:Linux:2.6
sig   = *:64:0:*:mss*4,2:mss,sok,ts,nop,ws:df,id+:0
sig   = *:64:0:*:mss*4,5:mss,sok,ts,nop,ws:df,id+:0
sig   = *:64:0:*:mss*4,6:mss,sok,ts,nop,ws:df,id+:0
sig   = *:64:0:*:mss*4,7:mss,sok,ts,nop,ws:df,id+:0
sig   = *:64:0:*:mss*4,8:mss,sok,ts,nop,ws:df,id+:0
; [pf.os]
label = s:unix:Linux:2.4
sig   = *:64:0:*:mss*4,0:mss,sok,ts,nop,ws:df,id+:0
sig   = *:64:0:*:mss*4,1:mss,sok,ts,nop,ws:df,id+:0
; [pf.os]
label = s:unix:Linux:2.2
sig   = *:64:0:*:mss*11,0:mss,sok,ts,nop,ws:df,id+:0
sig   = *:64:0:*:mss*22,0:mss,sok,ts,nop,ws:df,id+:0

; ----- Android: a Linux whose initial window the system raises to 65,535 (tcp_rmem of the radio)

; [observed] a window of 65,535 in front of Linux' options
label = s:unix:Android:5 and newer
sig   = *:64:0:*:65535,6:mss,sok,ts,nop,ws:df,id+:0
sig   = *:64:0:*:65535,7:mss,sok,ts,nop,ws:df,id+:0
sig   = *:64:0:*:65535,8:mss,sok,ts,nop,ws:df,id+:0
sig   = *:64:0:*:65535,9:mss,sok,ts,nop,ws:df,id+:0
sig   = *:64:0:*:65535,10:mss,sok,ts,nop,ws:df,id+:0

; the order of options is Linux' alone
label = g:unix:Linux:
sig   = *:64:0:*:*,*:mss,sok,ts,nop,ws:df,id+:0
sig   = *:64:0:*:*,*:mss,sok,ts,nop,ws:df,id+,ecn:0
sig   = *:64:0:*:*,*:mss,nop,nop,sok,nop,ws:df,id+:0
sig   = *:64:0:*:*,*:mss,nop,nop,ts,nop,ws:df,id+:0
sig   = *:64:0:*:*,0:mss,sok,ts:df,id+:0
sig   = *:64:0:*:*,*:mss,sok,ts,nop,ws,?30:df,id+:0
sig   = *:64:0:*:*,0:mss,nop,nop,sok:df,id+:0

; ----- Windows: TTL 128

; [defaults] CTCP and CUBIC stacks of 2016 on
label = s:win:Windows:10, 11, Server 2016 and newer
sig   = *:128:0:*:mss*max,8:mss,nop,ws,nop,nop,sok:df,id+:0
sig   = *:128:0:*:mss*max,8:mss,nop,ws,nop,nop,sok:df,id+,ecn:0
sig   = *:128:0:*:65535,8:mss,nop,ws,nop,nop,sok:df,id+:0
sig   = *:128:0:*:65535,8:mss,nop,ws,nop,nop,sok:df,id+,ecn:0
; [defaults] netsh int tcp set global timestamps=enabled
label = s:win:Windows:10, 11, Server 2016 and newer (timestamps)
sig   = *:128:0:*:mss*max,8:mss,nop,ws,sok,ts:df,id+:0
sig   = *:128:0:*:65535,8:mss,nop,ws,sok,ts:df,id+:0
; [defaults] netsh int tcp set global autotuninglevel=disabled
label = s:win:Windows:10, 11, Server 2016 and newer (autotuning off)
sig   = *:128:0:*:mss*max,0:mss,nop,nop,sok:df,id+:0
; [defaults] 8 KiB, scaled by 256
label = s:win:Windows:Vista to 8.1, Server 2008 to 2012 R2
sig   = *:128:0:*:8192,8:mss,nop,ws,nop,nop,sok:df,id+:0
sig   = *:128:0:*:8192,8:mss,nop,ws,nop,nop,sok:df,id+,ecn:0
sig   = *:128:0:*:8192,2:mss,nop,ws,nop,nop,sok:df,id+:0
sig   = *:128:0:*:8192,8:mss,nop,ws,sok,ts:df,id+:0
sig   = *:128:0:*:8192,2:mss,nop,ws,sok,ts:df,id+:0
sig   = *:128:0:*:8192,0:mss,nop,nop,sok:df,id+:0
; [pf.os]
label = s:win:Windows:XP or Server 2003
sig   = *:128:0:*:65535,0:mss,nop,nop,sok:df,id+:0
sig   = *:128:0:*:65535,0:mss,nop,ws,nop,nop,ts,nop,nop,sok:df,id+:0
sig   = *:128:0:*:65535,1:mss,nop,ws,nop,nop,sok:df,id+:0
sig   = *:128:0:*:65535,2:mss,nop,ws,nop,nop,sok:df,id+:0
sig   = *:128:0:*:65535,3:mss,nop,ws,nop,nop,sok:df,id+:0
; [pf.os]
label = s:win:Windows:2000
sig   = *:128:0:*:16384,0:mss,nop,nop,sok:df,id+:0
sig   = *:128:0:*:16384,0:mss,nop,ws,nop,nop,ts,nop,nop,sok:df,id+:0
; [pf.os]
label = s:win:Windows:98
sig   = *:128:0:*:8192,0:mss:df,id+:0
; TTL 128 and these orders of options are Windows' alone
label = g:win:Windows:
sig   = *:128:0:*:*,*:mss,nop,ws,nop,nop,sok:df,id+:0
sig   = *:128:0:*:*,*:mss,nop,ws,nop,nop,sok:df,id+,ecn:0
sig   = *:128:0:*:*,*:mss,nop,ws,sok,ts:df,id+:0
sig   = *:128:0:*:*,*:mss,nop,ws,nop,nop,ts,nop,nop,sok:df,id+:0
sig   = *:128:0:*:*,*:mss,nop,nop,sok:df,id+:0

; ----- macOS and iOS: one kernel, and no way to tell phones from computers

; [defaults] xnu: RFC 6864, no identification with DF
label = s:unix:macOS:10.10 and newer, or iOS
sig   = *:64:0:*:65535,5:mss,nop,ws,nop,nop,ts,sok,eol+1:df:0
sig   = *:64:0:*:65535,6:mss,nop,ws,nop,nop,ts,sok,eol+1:df:0
sig   = *:64:0:*:65535,7:mss,nop,ws,nop,nop,ts,sok,eol+1:df:0
sig   = *:64:0:*:65535,8:mss,nop,ws,nop,nop,ts,sok,eol+1:df:0
sig   = *:64:0:*:65535,5:mss,nop,ws,nop,nop,ts,sok,eol+1:df,ecn:0
sig   = *:64:0:*:65535,6:mss,nop,ws,nop,nop,ts,sok,eol+1:df,ecn:0
sig   = *:64:0:*:65535,7:mss,nop,ws,nop,nop,ts,sok,eol+1:df,ecn:0
sig   = *:64:0:*:65535,8:mss,nop,ws,nop,nop,ts,sok,eol+1:df,ecn:0
; [defaults] xnu before RFC 6864
label = s:unix:macOS:10.9 to 10.11, or iOS 7 to 9
sig   = *:64:0:*:65535,4:mss,nop,ws,nop,nop,ts,sok,eol+1:df,id+:0
sig   = *:64:0:*:65535,5:mss,nop,ws,nop,nop,ts,sok,eol+1:df,id+:0
sig   = *:64:0:*:65535,5:mss,nop,ws,nop,nop,ts,sok,eol+1:df,id+,ecn:0
sig   = *:64:0:*:65535,6:mss,nop,ws,nop,nop,ts,sok,eol+1:df,id+:0
; [defaults] autoscaling of 10.6
label = s:unix:macOS:10.6 to 10.8
sig   = *:64:0:*:65535,2:mss,nop,ws,nop,nop,ts,sok,eol+1:df,id+:0
sig   = *:64:0:*:65535,3:mss,nop,ws,nop,nop,ts,sok,eol+1:df,id+:0
; [pf.os]
label = s:unix:macOS:10.4 or 10.5
sig   = *:64:0:*:65535,0:mss,nop,ws,nop,nop,ts,sok,eol+1:df,id+:0
sig   = *:64:0:*:65535,1:mss,nop,ws,nop,nop,ts,sok,eol+1:df,id+:0
; [pf.os]
label = s:unix:macOS:10.2 or 10.3
sig   = *:64:0:*:32768,0:mss,nop,ws,nop,nop,ts:df,id+:0
sig   = *:64:0:*:33304,0:mss,nop,ws,nop,nop,ts:df,id+:0
; the order of options is xnu's alone
label = g:unix:macOS:
sig   = *:64:0:*:*,*:mss,nop,ws,nop,nop,ts,sok,eol+1:df,id+:0
sig   = *:64:0:*:*,*:mss,nop,ws,nop,nop,ts,sok,eol+1:df:0
sig   = *:64:0:*:*,*:mss,nop,ws,nop,nop,ts,sok,eol+1:df,ecn:0

; ----- The BSDs

; [defaults] net.inet.ip.rfc6864=1
label = s:unix:FreeBSD:11 and newer
sig   = *:64:0:*:65535,6:mss,nop,ws,sok,ts:df:0
sig   = *:64:0:*:65535,7:mss,nop,ws,sok,ts:df:0
sig   = *:64:0:*:65535,8:mss,nop,ws,sok,ts:df:0
sig   = *:64:0:*:65535,9:mss,nop,ws,sok,ts:df:0
; [defaults] kern.ipc.maxsockbuf of 2 MiB
label = s:unix:FreeBSD:9 or 10
sig   = *:64:0:*:65535,6:mss,nop,ws,sok,ts:df,id+:0
; [defaults] kern.ipc.maxsockbuf of 256 KiB
label = s:unix:FreeBSD:7 or 8
sig   = *:64:0:*:65535,3:mss,nop,ws,sok,ts:df,id+:0
; [pf.os]
label = s:unix:FreeBSD:5 or 6 (or AIX 5)
sig   = *:64:0:*:65535,1:mss,nop,ws,nop,nop,ts:df,id+:0
sig   = *:64:0:*:65535,0:mss,nop,ws,nop,nop,ts:df,id+:0
label = g:unix:FreeBSD:
sig   = *:64:0:*:*,*:mss,nop,ws,sok,ts:df,id+:0
sig   = *:64:0:*:*,*:mss,nop,ws,sok,ts:df:0

; [defaults] autoscaling of socket buffers
label = s:unix:OpenBSD:5.0 and newer
sig   = *:64:0:*:16384,6:mss,nop,nop,sok,nop,ws,nop,nop,ts:df,id+:0
; [pf.os]
label = s:unix:OpenBSD:4.8 or 4.9
sig   = *:64:0:*:16384,3:mss,nop,nop,sok,nop,ws,nop,nop,ts:df,id+:0
; [pf.os]
label = s:unix:OpenBSD:3.0 to 4.7
sig   = *:64:0:*:16384,0:mss,nop,nop,sok,nop,ws,nop,nop,ts:df,id+:0
label = g:unix:OpenBSD:
sig   = *:64:0:*:*,*:mss,nop,nop,sok,nop,ws,nop,nop,ts:df,id+:0
sig   = *:64:0:*:*,*:mss,nop,nop,sok,nop,ws,nop,nop,ts::0

; [pf.os] and its tcp_output.c
label = s:unix:NetBSD:5.0 and newer
sig   = *:64:0:*:32768,3:mss,nop,ws,sok,nop,nop,nop,nop,ts:df:0
sig   = *:64:0:*:32768,5:mss,nop,ws,sok,nop,nop,nop,nop,ts:df:0
sig   = *:64:0:*:32768,6:mss,nop,ws,sok,nop,nop,nop,nop,ts:df:0
label = g:unix:NetBSD:
sig   = *:64:0:*:*,*:mss,nop,ws,sok,nop,nop,nop,nop,ts:df:0
sig   = *:64:0:*:*,*:mss,nop,ws,sok,nop,nop,nop,nop,ts:df,id+:0

; ----- Other Unix systems

; [pf.os]
label = s:unix:Solaris:10
sig   = *:64:0:*:mss*34,0:mss,nop,ws,nop,nop,sok:df,id+:0
; [pf.os]
label = s:unix:Solaris:8 or 9
sig   = *:64:0:*:mss*34,0:nop,ws,nop,nop,ts,nop,nop,sok,mss:df,id+:0
sig   = *:64:0:*:mss*17,0:nop,ws,nop,nop,ts,nop,nop,sok,mss:df,id+:0
; [pf.os]
label = s:unix:HP-UX:11
sig   = *:64:0:*:32768,0:mss,ws,nop:df,id+:0
; [pf.os]
label = s:unix:Tru64:5
sig   = *:64:0:*:61440,0:mss,nop,ws:df,id+:0

; ----- Appliances and small stacks

; [pf.os]
label = s:other:Cisco:IOS
sig   = 4:255:0:*:4128,0:mss::0
; [defaults] TCP_WND of 4 segments, TTL 255
label = s:other:lwIP:
sig   = 4:255:0:*:mss*4,0:mss::0
; [pf.os]
label = s:other:uIP or Contiki:
sig   = 4:255:0:*:mss*1,0:mss::0

; ----- Programs with a stack of their own

; [tool] 1 to 4 KiB, random TTL
label = s:!:Nmap:SYN scan
sys   = @unix,@win
sig   = *:64-:0:1460:1024,0:mss::0
sig   = *:64-:0:1460:2048,0:mss::0
sig   = *:64-:0:1460:3072,0:mss::0
sig   = *:64-:0:1460:4096,0:mss::0
; [tool] nmap's probes, published in its book
label = s:!:Nmap:OS detection
sys   = @unix,@win
sig   = *:64-:0:1460:1,10:ws,nop,mss,ts,sok::0
sig   = *:64-:0:1400:63,0:mss,ws,sok,ts,eol+0::0
sig   = *:64-:0:640:4,5:ts,nop,nop,ws,nop,mss::0
sig   = *:64-:0:536:16,10:mss,sok,ts,ws,eol+0::0
sig   = *:64-:0:265:512,0:mss,sok,ts::0
; [tool] TTL 255, window 1024
label = s:!:masscan:
sys   = @unix,@win
sig   = 4:255:0:0:1024,0:::0
sig   = 4:255:0:1460:1024,0:mss::0
; [tool] TTL 255, window 65535
label = s:!:ZMap:
sys   = @unix
sig   = 4:255:0:0:65535,0:::0
sig   = 4:255:0:1460:65535,0:mss::0
; [tool] window 8192, sequence number 0
label = s:!:Scapy:
sys   = @unix
sig   = *:64:0:0:8192,0::seq-:0
sig   = *:64:0:0:8192,0::id-,seq-:0
; [tool] window 512
label = s:!:hping:
sys   = @unix
sig   = 4:64:0:0:512,0:::0

[tcp:response]

; A SYN+ACK repeats options that the client offered, so that each stack has several orders.

; [measured] 6.18; windows of ten to twenty segments less the options
label = s:unix:Linux:3.x to 6.x
sig   = *:64:0:*:mss*20,7:mss,nop,nop,sok,nop,ws:df:0
sig   = *:64:0:*:mss*10,7:mss,nop,nop,sok,nop,ws:df:0
sig   = *:64:0:*:28960,7:mss,sok,ts,nop,ws:df:0
sig   = *:64:0:*:14480,7:mss,sok,ts,nop,ws:df:0
sig   = *:64:0:*:mss*max,7:mss,sok,ts,nop,ws:df:0
sig   = *:64:0:*:mss*max,10:mss,sok,ts,nop,ws:df:0
sig   = *:64:0:*:mss*max,10:mss,sok,ts,nop,ws:df,ecn:0
sig   = *:64:0:*:mss*max,10:mss,nop,nop,ts,nop,ws:df:0
sig   = *:64:0:*:mss*max,0:mss,sok,ts:df:0
sig   = *:64:0:*:mss*max,7:mss,nop,nop,sok,nop,ws:df:0
sig   = *:64:0:*:mss*max,10:mss,nop,nop,sok,nop,ws:df:0
label = g:unix:Linux:
sig   = *:64:0:*:*,*:mss,sok,ts,nop,ws:df:0
sig   = *:64:0:*:*,*:mss,nop,nop,sok,nop,ws:df:0
sig   = *:64:0:*:*,0:mss,sok,ts:df:0
sig   = *:64:0:*:*,*:mss,nop,nop,ts,nop,ws:df:0

; [defaults]
label = s:win:Windows:Vista and newer
sig   = *:128:0:*:8192,8:mss,nop,ws,nop,nop,sok:df,id+:0
sig   = *:128:0:*:65535,8:mss,nop,ws,nop,nop,sok:df,id+:0
sig   = *:128:0:*:mss*max,8:mss,nop,ws,nop,nop,sok:df,id+:0
sig   = *:128:0:*:8192,8:mss,nop,ws,sok,ts:df,id+:0
sig   = *:128:0:*:65535,8:mss,nop,ws,sok,ts:df,id+:0
; [pf.os]
label = s:win:Windows:XP or Server 2003
sig   = *:128:0:*:65535,0:mss,nop,nop,sok:df,id+:0
sig   = *:128:0:*:65535,0:mss,nop,ws,nop,nop,ts,nop,nop,sok:df,id+:0
label = g:win:Windows:
sig   = *:128:0:*:*,*:mss,nop,ws,nop,nop,sok:df,id+:0
sig   = *:128:0:*:*,*:mss,nop,nop,sok:df,id+:0
sig   = *:128:0:*:*,*:mss,nop,ws,sok,ts:df,id+:0

; [defaults] one order of options for both
label = g:unix:FreeBSD or macOS:
sig   = *:64:0:*:65535,*:mss,nop,ws,sok,ts:df:0
sig   = *:64:0:*:65535,*:mss,nop,ws,sok,ts:df,id+:0
label = g:unix:macOS:
sig   = *:64:0:*:65535,*:mss,nop,ws,nop,nop,ts,sok,eol+1:df:0
sig   = *:64:0:*:65535,*:sok,ts,mss,nop,ws:df:0
label = g:unix:OpenBSD:
sig   = *:64:0:*:16384,*:mss,nop,nop,sok,nop,ws,nop,nop,ts:df,id+:0
