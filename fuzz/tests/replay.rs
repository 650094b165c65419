//! Replays the committed corpora: inputs that once reached new code or once broke something.

use std::path::{Path, PathBuf};

fn corpus(target: &str) -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(target);
    let entries = std::fs::read_dir(&directory).expect("the corpus is part of the repository");
    let mut files: Vec<_> = entries
        .map(|entry| entry.expect("readable").path())
        .collect();
    files.sort();
    assert!(
        files.len() >= 10,
        "{} holds only {} inputs",
        directory.display(),
        files.len()
    );
    files
}

fn replay(target: &str, run: fn(&[u8])) {
    for file in corpus(target) {
        let data = std::fs::read(&file).expect("readable");
        let survived = std::panic::catch_unwind(|| run(&data)).is_ok();
        assert!(survived, "{} breaks the target", file.display());
    }
}

#[test]
fn every_packet_sequence_of_the_corpus_is_survived() {
    replay("packet", weighbridge_fuzz::packet);
}

#[test]
fn every_text_of_the_language_corpus_is_read_or_refused() {
    replay("language", weighbridge_fuzz::language);
}

#[test]
fn every_startup_file_of_the_corpus_is_read_or_refused() {
    replay("startup", weighbridge_fuzz::startup);
}

#[test]
fn every_lacp_frame_of_the_corpus_is_survived() {
    replay("lacp", weighbridge_fuzz::lacp);
}

#[test]
fn every_message_of_the_kernel_on_links_and_ways_is_read_or_refused() {
    replay("carrier", weighbridge_fuzz::carrier);
}

#[test]
fn every_text_for_the_monitoring_plugin_is_read_or_refused() {
    replay("monitor", weighbridge_fuzz::monitor);
}

#[test]
fn every_packet_of_the_wire_corpus_is_survived() {
    replay("wire", weighbridge_fuzz::wire);
}

#[test]
fn every_packet_of_the_features_corpus_is_read_or_refused() {
    replay("features", weighbridge_fuzz::features);
}

#[test]
fn every_capture_of_the_corpus_is_read_or_refused() {
    replay("capture", weighbridge_fuzz::capture);
}

#[test]
fn every_log_of_the_corpus_is_printed_or_refused() {
    replay("pflog", weighbridge_fuzz::pflog);
}

#[test]
fn every_settings_file_of_the_corpus_is_read_or_refused() {
    replay("settings", weighbridge_fuzz::settings);
}

#[test]
fn every_conversation_of_the_control_corpus_ends() {
    replay("control", weighbridge_fuzz::control);
}

#[test]
fn every_file_of_states_of_the_corpus_is_taken_over_or_refused() {
    replay("states", weighbridge_fuzz::states);
}

#[test]
fn every_pf_os_of_the_corpus_is_read_or_refused() {
    replay("pf_os", weighbridge_fuzz::pf_os);
}

#[test]
fn every_p0f_fp_of_the_corpus_is_read_or_refused() {
    replay("p0f_fp", weighbridge_fuzz::p0f_fp);
}

#[test]
fn every_conversation_with_a_mail_server_in_the_corpus_is_survived() {
    replay("mail_sessions", weighbridge_fuzz::mail_sessions);
}

#[test]
fn every_text_of_a_mail_server_in_the_corpus_is_survived() {
    replay("mail_texts", weighbridge_fuzz::mail_texts);
}

#[test]
fn every_mail_toml_of_the_corpus_is_read_or_refused() {
    replay("mail_settings", weighbridge_fuzz::mail_settings);
}

#[test]
fn every_file_of_observations_of_the_corpus_is_taken_over_or_refused() {
    replay("observations", weighbridge_fuzz::observations);
}

#[test]
fn every_published_table_of_the_corpus_is_survived() {
    replay("published", weighbridge_fuzz::published);
}

#[test]
fn every_httpd_conf_of_the_corpus_is_read_and_its_edits_fit() {
    replay("httpd_conf", weighbridge_fuzz::httpd_conf);
}

#[test]
fn every_log_of_the_doctors_corpus_is_read() {
    replay("doctor_logs", weighbridge_fuzz::doctor_logs);
}

#[test]
fn every_krb5_conf_of_the_corpus_is_read_and_its_edits_fit() {
    replay("krb5_conf", weighbridge_fuzz::krb5_conf);
}

#[test]
fn every_keytab_of_the_corpus_is_read_or_refused() {
    replay("keytab", weighbridge_fuzz::keytab);
}

#[test]
fn every_answer_of_the_kdc_corpus_is_read_or_refused() {
    replay("kdc", weighbridge_fuzz::kdc);
}

#[test]
fn every_sshd_config_of_the_corpus_is_read() {
    replay("sshd_config", weighbridge_fuzz::sshd_config);
}

#[test]
fn the_hostile_ruleset_is_accepted() {
    weighbridge_fuzz::packet(&[]);
}

#[test]
fn every_line_of_a_mail_servers_log_tells_something_or_nothing() {
    replay("mail_logs", weighbridge_fuzz::mail_logs);
}

#[test]
fn every_file_of_collected_handshakes_is_read_or_refused() {
    replay("unknown", weighbridge_fuzz::unknown);
}

#[test]
fn every_request_on_the_sockets_for_tables_and_status_is_answered() {
    replay("tables", weighbridge_fuzz::tables);
}
