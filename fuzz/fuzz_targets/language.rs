//! libFuzzer entry of [`weighbridge_fuzz::language`]: `make fuzz`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weighbridge_fuzz::language(data));
