//! libFuzzer entry of [`weighbridge_fuzz::sshd_config`]: `make fuzz`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weighbridge_fuzz::sshd_config(data));
