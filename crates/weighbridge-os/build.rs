//! Names the library as programs that are linked with it look for it.

#![expect(clippy::print_stdout, reason = "this is how cargo is told")]

fn main() {
    println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libweighbridge-os.so.0");
}
