//! What a text can cost is bounded, and reaching a bound is said.

use std::fmt::Write as _;

use pf_conf::{Code, Diagnostics, LoadOptions, Loaded, MemoryFiles, load};

fn read(text: &str) -> Result<Loaded, Diagnostics> {
    let mut files = MemoryFiles::default();
    files.0.insert("self".to_owned(), text.as_bytes().to_vec());
    load("text", text.as_bytes(), &mut files, &LoadOptions::default())
}

fn refusal(text: &str) -> Diagnostics {
    match read(text) {
        Ok(_) => panic!("accepted"),
        Err(errors) => errors,
    }
}

fn codes(errors: &Diagnostics) -> Vec<Code> {
    errors.iter().map(|(_, error)| error.code).collect()
}

#[test]
fn a_macro_that_doubles_is_stopped() {
    let mut text = String::from("a0 = \"0123456789012345678901234567890123456789\"\n");
    for n in 0..40 {
        writeln!(text, "a{} = $a{n} $a{n}", n + 1).expect("a string is writable");
    }
    let errors = refusal(&text);
    assert_eq!(codes(&errors), [Code::Limit], "{errors}");
    assert!(
        errors
            .plain()
            .contains("macro is longer than 1048576 bytes"),
        "{errors}"
    );
}

#[test]
fn expansions_are_stopped_together() {
    let mut text = format!("a = \"{}\"\n", "0 ".repeat(500_000));
    for _ in 0..100 {
        text.push_str("pass in on $a\n");
    }
    let errors = refusal(&text);
    assert_eq!(codes(&errors).last(), Some(&Code::Limit), "{errors}");
    assert!(errors.count() <= 20, "{}", errors.count());
}

#[test]
fn an_include_loop_is_stopped() {
    let errors = refusal("include \"self\"\n");
    assert_eq!(codes(&errors), [Code::Limit], "{errors}");
    assert!(
        errors
            .plain()
            .contains("include is nested more than 32 deep"),
        "{errors}"
    );
}

#[test]
fn an_include_tree_is_stopped() {
    let errors = refusal(&"include \"self\"\n".repeat(10));
    assert!(errors.count() <= 201, "{}", errors.count());
    assert!(codes(&errors).iter().all(|code| *code == Code::Limit));
}

#[test]
fn lists_that_multiply_are_stopped() {
    let list = |n: u32| {
        let items: Vec<String> = (0..n)
            .map(|i| format!("10.0.{}.{}", i / 256, i % 256))
            .collect();
        format!("{{ {} }}", items.join(" "))
    };
    let text = format!("pass from {} to {}", list(1000), list(1000));
    let errors = refusal(&text);
    assert_eq!(codes(&errors), [Code::Limit], "{errors}");
    let rules = read(&format!("pass from {} to {}", list(200), list(200)));
    assert_eq!(
        rules.map(|loaded| loaded.ruleset.filter.len()).ok(),
        Some(40_000)
    );
}

#[test]
fn lists_in_lists_are_stopped() {
    let text = format!("pass from {}", "{".repeat(100_000));
    let errors = refusal(&text);
    assert_eq!(codes(&errors), [Code::Limit], "{errors}");
}

#[test]
fn statements_are_stopped() {
    let errors = refusal(&"a=1\n".repeat(300_000));
    assert_eq!(codes(&errors), [Code::Limit], "{errors}");
}

#[test]
fn errors_are_stopped() {
    let errors = refusal(&"nonsense\n".repeat(10_000));
    assert_eq!(errors.count(), 201);
    assert!(errors.plain().contains("too many errors (200)"));
}

#[test]
fn a_file_that_is_too_large_is_refused() {
    let errors = refusal(&" ".repeat((64 << 20) + 1));
    assert_eq!(codes(&errors), [Code::Limit], "{errors}");
}

#[test]
fn a_long_word_is_not_repeated_in_full() {
    let errors = refusal(&format!("pass proto tcp to port {}", "x".repeat(1_000_000)));
    assert!(errors.plain().len() < 2000);
    assert!(errors.rendered(false).len() < 10_000);
}

#[test]
fn huge_numbers_are_refused() {
    for text in [
        "set timeout interval 99999999999999999999",
        "pass proto tcp to port 99999999999999999999",
        "pass proto 4294967296",
        "pass from 10.0.0.0/4294967295",
        "pass keep state (max 4294967296)",
    ] {
        assert_eq!(codes(&refusal(text)).len(), 1, "{text}");
    }
}

#[test]
fn what_a_message_quotes_cannot_steer_a_terminal() {
    let errors = refusal("pass \x1b[31mred\nblock on \"\x07\" \x07\nx = \"\x1bc\"\npass $x$y\n");
    for text in [errors.plain(), errors.rendered(false)] {
        let steers = |c: char| c.is_control() && c != '\n';
        assert!(!text.contains(steers), "{text:?}");
    }
}
