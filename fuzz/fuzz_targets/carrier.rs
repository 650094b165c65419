//! libFuzzer entry of [`weighbridge_fuzz::carrier`]: `make fuzz`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weighbridge_fuzz::carrier(data));
