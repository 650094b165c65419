//! libFuzzer entry of [`weighbridge_fuzz::packet`]: `make fuzz`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weighbridge_fuzz::packet(data));
