//! libFuzzer entry of [`weighbridge_fuzz::httpd_conf`]: `make fuzz`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weighbridge_fuzz::httpd_conf(data));
