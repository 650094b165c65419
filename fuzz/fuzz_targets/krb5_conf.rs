//! libFuzzer entry of [`weighbridge_fuzz::krb5_conf`]: `make fuzz`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weighbridge_fuzz::krb5_conf(data));
