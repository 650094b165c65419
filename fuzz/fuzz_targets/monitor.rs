//! libFuzzer entry of [`weighbridge_fuzz::monitor`]: `make fuzz`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weighbridge_fuzz::monitor(data));
