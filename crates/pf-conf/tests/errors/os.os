# What is wrong here is told with its place.
S4:64:1:60:M*,S,T,N,W0:		Linux:2.4::Linux 2.4
S4:300:1:60:M*:			Linux:2.4::TTL
S4:64:1:60:M*,Q:		Linux:2.4::option
S4:64:1:60:M*:			Linux:2.4
