//! What the key `h` shows.

/// The page of keys.
pub const PAGE: [&str; 21] = [
    "  weighbridge top: keys",
    "",
    "     c  - toggle the Cache: rates         f  - set the state Filter",
    "     h  - Help (this page)                n  - set the Number of lines",
    "     o  - next sort Order                 p  - Pause the display",
    "     r  - Reverse the sort order          s  - Set the update interval",
    "     v  - next View                       q  - Quit",
    "",
    "    0-9 - select a view                   SPC - update now",
    "    left, right - the view before, after  ^L  - draw the screen again",
    "    up, down, PgUp, PgDn, Home, End       ^G  - leave the command line",
    "",
    "  Views: 0 default  1 long  2 state  3 time  4 size  5 rules  6 label  7 speed",
    "         8 queue  9 links, then tables, gateways",
    "",
    "  Sort states by:",
    "     A  - Age          B  - Bytes         D  - Dest. port",
    "     E  - Expiry       F  - From          N  - None",
    "     P  - Packets      S  - Src. port     T  - To",
    "     R  - Rate         K  - peaK          the same key again: reverse",
    "  press any key to continue ...",
];
