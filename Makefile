# make run    the bridge article's network in a lab on this machine (ARGS=--once: ends by itself)
# make test   the whole test suite
# make soak   the box for 30 minutes under random traffic, reloads, loss, resets and restarts
# make bench  all benchmarks: packets through the box, reading rules, the mail side
# make bench-links  links that fail: our LACP beside Open vSwitch's
# make test-kernels  what of the suite depends on it, on kernels from the oldest promised to the newest
# make lint   formatting, clippy, documentation, as CI runs them
# make help   all targets

CARGO ?= cargo
PREFIX ?= /usr/local
ARGS ?=
FUZZ_SECONDS ?= 60
SOAK_SECONDS ?= 1800
SOAK_SEED ?= 1
SOAK_REPORT ?= target/soak.json
SOAK_FAST_PATH ?=

.PHONY: help setup build run test test-kernels soak bench bench-load bench-mail bench-path bench-links lint fmt fuzz install clean

help:
	@echo 'make run [ARGS=--once]  run the bridge article in a lab of network namespaces (root)'
	@echo 'make test               run the whole test suite (end-to-end tests need root)'
	@echo 'make test-kernels       the data path in QEMU on kernels from the oldest promised to the newest, those'
	@echo '                        of them that can be had: WEIGHBRIDGE_TEST_KERNELS, as "kernel-5.15" (root)'
	@echo 'make soak               random traffic, reloads, loss, resets and restarts for SOAK_SECONDS'
	@echo '                        ($(SOAK_SECONDS)) from SOAK_SEED ($(SOAK_SEED)): every verdict checked, memory watched (root);'
	@echo '                        SOAK_FAST_PATH: off, on, or emptied for a flow cache that is emptied at random'
	@echo 'make bench              the three that follow; figures, JSON and a chart in target/bench (root)'
	@echo 'make bench-path         packets through the box beside the kernel bridge, nftables and bare redirection:'
	@echo '                        BENCH_ROUNDS (5), BENCH_MILLIS of each measurement (600), BENCH_SEED (1),'
	@echo '                        BENCH_ONLY: words of which one is in the name of what is measured, as'
	@echo '                        "packets", "fast-path on", "sockets,nat"'
	@echo 'make bench-load         how long reading rules takes, and nft beside it'
	@echo 'make bench-mail         the mail side beside p0f: SYNs and questions a second, latency, memory'
	@echo 'make bench-links        links that fail: our LACP beside that of Open vSwitch, ten minutes (root)'
	@echo 'make lint               formatting, clippy and documentation, warnings denied'
	@echo 'make build              release build: target/release/weighbridge'
	@echo 'make fuzz               look for inputs that break something, FUZZ_SECONDS each target'
	@echo 'make install            install weighbridge, pfctl and libweighbridge-os below PREFIX ($(PREFIX))'
	@echo 'make clean              remove what was built, and labs left by killed runs'

setup:
	@scripts/setup.sh

build: setup
	@echo '==> building (release)'
	@$(CARGO) build --release --locked -p weighbridge -p weighbridge-os -p lab

run: build
	@target/release/weighbridge-lab run $(ARGS)

test: setup
	@scripts/packages.sh
	@echo '==> building the tests'
	@$(CARGO) test --workspace --locked --no-run
	@echo '==> running the tests'
	@$(CARGO) test --workspace --locked
	@echo '==> all tests passed'

test-kernels: setup
	@scripts/packages.sh kernels
	@$(CARGO) test --locked -p weighbridge --test e2e -- --ignored --nocapture each_kernel

soak: build
	@target/release/weighbridge-lab soak --seconds $(SOAK_SECONDS) --seed $(SOAK_SEED) --json $(SOAK_REPORT) \
	    $(if $(SOAK_FAST_PATH),--fast-path $(SOAK_FAST_PATH))

bench: bench-path bench-load bench-mail

bench-path: setup
	@$(CARGO) bench --locked -p weighbridge --bench path

bench-load: setup
	@$(CARGO) bench --locked -p pf-conf --bench load

bench-mail: setup
	@$(CARGO) bench --locked -p weighbridge --bench mail

bench-links: setup
	@scripts/packages.sh
	@$(CARGO) test --locked -p weighbridge --test links -- --ignored --nocapture figures_of_links

lint: setup
	@echo '==> formatting'
	@$(CARGO) fmt --all --check
	@echo '==> clippy'
	@$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	@echo '==> documentation'
	@RUSTDOCFLAGS='-D warnings' $(CARGO) doc --workspace --no-deps --document-private-items --locked --quiet

fmt:
	@$(CARGO) fmt --all

# What libFuzzer needs of the compiler is in the stable one. What is found new is kept in
# target/fuzz/corpus, what breaks something in target/fuzz.
FUZZ_TARGETS = packet wire features language startup lacp carrier monitor capture pflog settings control states \
    pf_os p0f_fp mail_logs unknown tables mail_sessions mail_texts mail_settings observations published \
    httpd_conf doctor_logs krb5_conf keytab kdc sshd_config
FUZZ_HOST = $(shell rustc --print host-tuple)
FUZZ_FLAGS = -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Clink-dead-code -Cdebug-assertions=yes \
    -Coverflow-checks=yes -Ccodegen-units=1 --cfg fuzzing

fuzz: setup
	@echo '==> building the fuzz targets'
	@RUSTFLAGS='$(FUZZ_FLAGS)' CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_PANIC=unwind \
	    $(CARGO) build --release --locked -p weighbridge-fuzz --features libfuzzer \
	    --target $(FUZZ_HOST) --target-dir target/fuzz
	@for target in $(FUZZ_TARGETS); do \
	    echo "==> fuzzing $$target for $(FUZZ_SECONDS) s"; \
	    mkdir -p target/fuzz/corpus/$$target; \
	    target/fuzz/$(FUZZ_HOST)/release/$$target -max_total_time=$(FUZZ_SECONDS) \
	        -rss_limit_mb=4096 -artifact_prefix=target/fuzz/$$target- \
	        target/fuzz/corpus/$$target fuzz/corpus/$$target || exit 1; \
	done

install: build
	install -D -m 0755 target/release/weighbridge $(DESTDIR)$(PREFIX)/sbin/weighbridge
	ln -sf weighbridge $(DESTDIR)$(PREFIX)/sbin/pfctl
	ln -sf weighbridge $(DESTDIR)$(PREFIX)/sbin/check_weighbridge
	install -D -m 0644 target/release/libweighbridge_os.so $(DESTDIR)$(PREFIX)/lib/libweighbridge-os.so.0
	ln -sf libweighbridge-os.so.0 $(DESTDIR)$(PREFIX)/lib/libweighbridge-os.so
	install -D -m 0644 crates/weighbridge-os/include/weighbridge_os.h $(DESTDIR)$(PREFIX)/include/weighbridge_os.h
	install -D -m 0644 docs/man/libweighbridge-os.3 $(DESTDIR)$(PREFIX)/share/man/man3/libweighbridge-os.3
	install -D -m 0644 docs/man/pfctl.8 $(DESTDIR)$(PREFIX)/share/man/man8/pfctl.8
	install -D -m 0644 docs/man/weighbridge.8 $(DESTDIR)$(PREFIX)/share/man/man8/weighbridge.8
	for unit in weighbridge.service weighbridge-watch@.service; do \
	    install -D -m 0644 contrib/systemd/$$unit $(DESTDIR)$(PREFIX)/lib/systemd/system/$$unit; \
	    sed -i "s|/usr/local|$(PREFIX)|" $(DESTDIR)$(PREFIX)/lib/systemd/system/$$unit; \
	done
	install -D -m 0644 contrib/exim/00_local_weighbridge $(DESTDIR)$(PREFIX)/share/weighbridge/exim/00_local_weighbridge
	for acl in connect rcpt deferred predata data end report; do \
	    install -D -m 0644 contrib/exim/weighbridge/$$acl $(DESTDIR)$(PREFIX)/share/weighbridge/exim/weighbridge/$$acl; \
	done
	install -D -m 0644 docs/man/mail.toml.5 $(DESTDIR)$(PREFIX)/share/man/man5/mail.toml.5
	install -D -m 0644 docs/man/weighbridge.toml.5 $(DESTDIR)$(PREFIX)/share/man/man5/weighbridge.toml.5

clean:
	@if [ -x target/release/weighbridge-lab ]; then target/release/weighbridge-lab clean; fi
	@$(CARGO) clean
