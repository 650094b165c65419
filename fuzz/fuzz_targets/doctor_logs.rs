//! libFuzzer entry of [`weighbridge_fuzz::doctor_logs`]: `make fuzz`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weighbridge_fuzz::doctor_logs(data));
