# For os.in.
S4:64:1:60:M*,S,T,N,W0:		Linux:2.4::Linux 2.4
8192:128:1:48:M*,N,N,S:		Windows:XP:SP1:Windows XP SP1
*:64:1:60:.:			Known:2.0:1-3:Known 2.0.1 to 2.0.3
12288:32:0:44:M536:		RISC OS:3.70:4.10:RISC OS 3.70
