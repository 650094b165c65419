use super::*;

fn nobody(_: &str) -> Vec<Prefix> {
    Vec::new()
}

/// Presses keys on a screen of 10 of 100 rows; the last action.
fn press(shown: &mut Shown, keys: &[Key]) -> Action {
    let mut action = Action::Nothing;
    for key in keys {
        action = shown.press(*key, 100, 10, &nobody);
    }
    action
}

fn typed(text: &str) -> Vec<Key> {
    text.chars().map(Key::Char).collect()
}

#[test]
fn digits_and_arrows_change_the_view() {
    let mut shown = Shown::default();
    // States stay what they are: nothing has to be asked for.
    assert_eq!(press(&mut shown, &typed("1")), Action::Draw);
    assert_eq!(shown.view().name, "long");
    assert_eq!(press(&mut shown, &typed("5")), Action::Update);
    assert_eq!(shown.view().name, "rules");
    assert_eq!(press(&mut shown, &[Key::Right]), Action::Draw);
    assert_eq!(shown.view().name, "label");
    assert_eq!(press(&mut shown, &[Key::Left, Key::Left]), Action::Update);
    assert_eq!(shown.view().name, "size");
    let _ = press(&mut shown, &typed("0"));
    let _ = press(&mut shown, &[Key::Left]);
    assert_eq!(shown.view().name, "gateways");
    let _ = press(&mut shown, &typed("v"));
    assert_eq!(shown.view().name, "default");
    let _ = press(&mut shown, &typed("9"));
    assert_eq!(shown.view().name, "links");
}

#[test]
fn orders_have_keys_and_the_same_key_turns_them_round() {
    let mut shown = Shown::default();
    assert_eq!(press(&mut shown, &typed("B")), Action::Draw);
    assert_eq!((shown.order, shown.reversed), (Order::Bytes, false));
    let _ = press(&mut shown, &typed("B"));
    assert_eq!((shown.order, shown.reversed), (Order::Bytes, true));
    let _ = press(&mut shown, &typed("r"));
    assert!(!shown.reversed);
    let _ = press(&mut shown, &typed("o"));
    assert_eq!(shown.order, Order::Expiry);
    for (key, order) in "NBEPAFTSDRK".chars().zip(super::super::order::ORDERS) {
        let _ = press(&mut shown, &[Key::Char(key)]);
        assert_eq!(shown.order, order.0, "{key}");
    }
    // Rules have no order.
    let _ = press(&mut shown, &typed("5"));
    assert_eq!(press(&mut shown, &typed("A")), Action::Nothing);
    assert_eq!(shown.order, Order::Peak);
}

#[test]
fn scrolling_stays_within_the_rows() {
    let mut shown = Shown::default();
    let _ = press(&mut shown, &[Key::Up]);
    assert_eq!(shown.start, 0);
    let _ = press(&mut shown, &[Key::Down, Key::PageDown]);
    assert_eq!(shown.start, 11);
    let _ = press(&mut shown, &[Key::End, Key::Down]);
    assert_eq!(shown.start, 90);
    let _ = press(&mut shown, &[Key::PageUp, Key::Control('p')]);
    assert_eq!(shown.start, 79);
    let _ = press(&mut shown, &[Key::Home]);
    assert_eq!(shown.start, 0);
    // Fewer rows than the screen has lines.
    assert_eq!(shown.press(Key::Down, 3, 10, &nobody), Action::Draw);
    assert_eq!(shown.start, 0);
}

#[test]
fn a_filter_is_typed_corrected_and_taken_off() {
    let mut shown = Shown::default();
    let _ = press(&mut shown, &typed("ftcp port 8x"));
    assert_eq!(
        shown.typing,
        Some((Asked::Filter, "tcp port 8x".to_owned()))
    );
    assert_eq!(press(&mut shown, &[Key::Enter]), Action::Draw);
    assert!(shown.filter.is_none());
    let message = shown.message.clone().expect("told");
    assert!(message.starts_with("Error: column 10: '8x'"), "{message}");
    // While typing, q is a letter; ^G leaves.
    let _ = press(&mut shown, &typed("fq"));
    assert_eq!(press(&mut shown, &[Key::Control('g')]), Action::Draw);
    assert!(shown.typing.is_none() && shown.filter.is_none());
    let _ = press(&mut shown, &typed("ftcp port 8x"));
    let _ = press(&mut shown, &[Key::Backspace]);
    assert_eq!(press(&mut shown, &[Key::Enter]), Action::Update);
    let text = shown.filter.as_ref().map(|(text, _)| text.as_str());
    assert_eq!(text, Some("tcp port 8"));
    // What is in force can be edited.
    let _ = press(&mut shown, &typed("f0"));
    assert_eq!(
        shown.typing,
        Some((Asked::Filter, "tcp port 80".to_owned()))
    );
    let _ = press(&mut shown, &[Key::Control('u'), Key::Enter]);
    assert!(shown.filter.is_none());
}

#[test]
fn what_is_typed_is_bounded_and_cannot_hold_control_characters() {
    let mut shown = Shown::default();
    let _ = press(&mut shown, &typed("f"));
    let _ = press(&mut shown, &[Key::Char('\u{1b}'), Key::Char('\u{9b}')]);
    let _ = press(&mut shown, &vec![Key::Char('x'); 3000]);
    let (_, text) = shown.typing.expect("typing");
    assert_eq!(text, "x".repeat(FILTER_BYTES_MAX));
}

#[test]
fn delay_lines_pause_cache_and_help_are_told_by_keys() {
    let mut shown = Shown::default();
    let _ = press(&mut shown, &typed("s2"));
    assert_eq!(press(&mut shown, &[Key::Enter]), Action::Update);
    assert_eq!(shown.delay, Duration::from_secs(2));
    for nonsense in ["s0", "s-1", "sx", "s86401"] {
        let _ = press(&mut shown, &typed(nonsense));
        let _ = press(&mut shown, &[Key::Enter]);
        assert_eq!(shown.delay, Duration::from_secs(2), "{nonsense}");
        assert!(shown.message.is_some(), "{nonsense}");
    }
    let _ = press(&mut shown, &typed("n7"));
    let _ = press(&mut shown, &[Key::Enter]);
    assert_eq!(shown.lines, Some(7));
    let _ = press(&mut shown, &typed("n0"));
    let _ = press(&mut shown, &[Key::Enter]);
    assert_eq!(shown.lines, None);
    let _ = press(&mut shown, &typed("p"));
    assert!(shown.paused);
    assert_eq!(press(&mut shown, &typed("c")), Action::Update);
    assert!(!shown.cached);
    let _ = press(&mut shown, &typed("h"));
    assert!(shown.help);
    // Any key leaves the help, and does nothing else.
    assert_eq!(press(&mut shown, &typed("q")), Action::Draw);
    assert!(!shown.help);
    assert_eq!(press(&mut shown, &typed(" ")), Action::Update);
    assert_eq!(press(&mut shown, &[Key::Control('l')]), Action::Redraw);
    assert_eq!(press(&mut shown, &typed("q")), Action::Quit);
    assert_eq!(press(&mut shown, &[Key::Control('c')]), Action::Quit);
}
