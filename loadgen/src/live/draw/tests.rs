//! Tests of the text on the screen, at several sizes.

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::style::{Color, Modifier};

use super::{Look, Paint, draw};
use crate::live::model::Model;
use crate::live::model::samples;

const PLAIN: Look = Look {
    paint: Paint { colour: true },
    frozen: false,
    help: false,
    ending: false,
};

fn screen(model: &Model, look: Look, (width, height): (u16, u16)) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a terminal");
    terminal
        .draw(|frame| draw(model, look, frame.area(), frame.buffer_mut()))
        .expect("it is drawn");
    terminal.backend().buffer().clone()
}

fn rows(buffer: &Buffer) -> Vec<String> {
    let width = usize::from(buffer.area.width);
    let symbols: Vec<_> = buffer
        .content
        .iter()
        .map(ratatui::buffer::Cell::symbol)
        .collect();
    symbols.chunks(width).map(<[&str]>::concat).collect()
}

/// Returns where a text stands, in columns and rows.
#[track_caller]
fn find(buffer: &Buffer, text: &str) -> (u16, u16) {
    let rows = rows(buffer);
    let found = rows.iter().zip(0..).find_map(|(row, y)| {
        let at = row.find(text)?;
        Some((row[..at].chars().count() as u16, y))
    });
    found.unwrap_or_else(|| panic!("no {text:?} in\n{}", rows.join("\n")))
}

/// Asserts that the row with `text` also holds each of `words`.
#[track_caller]
fn row_has(buffer: &Buffer, text: &str, words: &[&str]) {
    let (_, y) = find(buffer, text);
    let row = &rows(buffer)[usize::from(y)];
    for word in words {
        assert!(row.contains(word), "no {word:?} in {row:?}");
    }
}

#[test]
fn everything_that_matters_is_there_at_every_size() {
    let model = samples::busy(30);
    for size in [
        (80, 24),
        (81, 25),
        (100, 30),
        (120, 38),
        (160, 48),
        (200, 50),
        (300, 90),
    ] {
        let buffer = screen(&model, PLAIN, size);
        row_has(
            &buffer,
            "loadgen run smoke",
            &["ws://127.0.0.1:7700", "0:30 of 0:45"],
        );
        row_has(&buffer, "▶ day (constant", &["0:20 of 0:35", "0:15 left"]);
        row_has(&buffer, "│ offered  ", &["2,000"]);
        row_has(&buffer, "│ achieved  ", &["1,900"]);
        row_has(&buffer, " open  ", &["1,990 of 2,000"]);
        row_has(&buffer, " connecting", &["7"]);
        row_has(&buffer, " away  ", &["0"]);
        row_has(&buffer, " failed", &["3", "ended 0"]);
        row_has(&buffer, " e2e  ", &["2.0", "ms", "│"]);
        row_has(&buffer, " ack ", &["ms"]);
        row_has(&buffer, " send lag", &["µs"]);
        find(&buffer, "no promise broken so far");
        for name in [
            "lost 0",
            "duplicated 0",
            "reordered 0",
            "unexpected 0",
            "gaps 2",
        ] {
            find(&buffer, name);
        }
        row_has(&buffer, " healthy ", &["sent 100.00 %", "lag p99 303 µs"]);
        row_has(&buffer, " stall 4.00 ms", &["idle", "steal", "%"]);
        row_has(&buffer, " generator CPU", &["50 %", "40 MiB"]);
        row_has(&buffer, " gateway   CPU", &["75 %", "80 MiB", "each"]);
        find(&buffer, "rate-limited");
        row_has(&buffer, " q end the run", &["p freeze", "? help"]);
    }
}

#[test]
fn there_is_more_where_there_is_room() {
    let model = samples::busy(30);
    let buffer = screen(&model, PLAIN, (200, 50));
    for words in [
        "messages a second, the whole run",
        "end to end, the whole run",
        "counter",
        "last troubles",
        "thresholds: e2e p(99)<250ms",
        "· drain",
        "· read back",
        "✓ connect (ramping-connections)",
        "message pushes",
    ] {
        find(&buffer, words);
    }
    // Each counter that has counted something by its name.
    for named in model.look.counters.named().filter(|it| it.value > 0) {
        let name: String = named.name.replace('_', " ").chars().take(8).collect();
        find(&buffer, &name);
    }
    let braille = rows(&buffer)
        .concat()
        .chars()
        .filter(|c| ('⠁'..='⣿').contains(c))
        .count();
    assert!(braille > 50, "{braille} dots of a line");
}

#[test]
fn a_narrow_panel_cuts_no_name_and_no_threshold() {
    let mut model = samples::busy(30);
    let counts = ["duplicated", "lost", "reordered", "unexpected"];
    for metric in counts {
        let condition = "count==0".parse().expect("a threshold");
        model
            .about
            .thresholds
            .insert(metric.to_owned(), vec![condition]);
    }
    let buffer = screen(&model, PLAIN, (160, 48));
    let text = rows(&buffer).join("\n");
    // The lines of the panel, from its left edge on.
    let (left, top) = find(&buffer, " thresholds: ");
    let lines = rows(&buffer).into_iter().skip(usize::from(top)).take(3);
    let panel = lines.map(|row| row.chars().skip(usize::from(left)).collect::<String>());
    let panel = panel.collect::<String>().replace('│', " ");
    let words: Vec<_> = panel.split_whitespace().collect();
    let panel = words.join(" ");
    for metric in counts {
        assert!(
            panel.contains(&format!("{metric} count==0")),
            "{metric} in {panel}"
        );
    }
    row_has(&buffer, "p50       p99       max │", &["p99       max  "]);
    assert!(!text.contains("maxp99"), "{text}");
    find(&screen(&model, PLAIN, (80, 24)), "p99 by second");
}

#[test]
fn a_broken_promise_cannot_be_overlooked() {
    let model = samples::lying(30);
    for size in [(80, 24), (200, 50)] {
        let buffer = screen(&model, PLAIN, size);
        for text in ["3 BROKEN PROMISES", "3 WRONG"] {
            let (x, y) = find(&buffer, text);
            let cell = &buffer[(x, y)];
            assert_eq!((cell.fg, cell.bg), (Color::White, Color::Red), "{text}");
        }
        let (x, y) = find(&buffer, "lost 2");
        assert_eq!(buffer[(x, y)].fg, Color::Red);
        find(&buffer, "text-changed 1");
        // A frame that looks other than the rest.
        let (x, y) = find(&buffer, "┏");
        assert_eq!(buffer[(x, y)].fg, Color::Red);

        let without = Look {
            paint: Paint { colour: false },
            ..PLAIN
        };
        let buffer = screen(&model, without, size);
        let (x, y) = find(&buffer, "3 WRONG");
        assert!(
            buffer[(x, y)]
                .modifier
                .contains(Modifier::REVERSED | Modifier::BOLD)
        );
    }
}

#[test]
fn without_colours_there_are_none() {
    let look = Look {
        paint: Paint { colour: false },
        ..PLAIN
    };
    for model in [
        samples::busy(30),
        samples::lying(30),
        samples::unhealthy(30),
    ] {
        for size in [(80, 24), (200, 50)] {
            let buffer = screen(&model, look, size);
            let plain =
                |cell: &ratatui::buffer::Cell| cell.fg == Color::Reset && cell.bg == Color::Reset;
            assert!(buffer.content.iter().all(plain));
        }
    }
}

#[test]
fn an_unhealthy_generator_says_why() {
    let buffer = screen(&samples::unhealthy(30), PLAIN, (80, 24));
    let (x, y) = find(&buffer, "UNHEALTHY: send lag p99");
    assert_eq!(buffer[(x, y)].fg, Color::Red);
}

#[test]
fn a_reason_is_read_to_its_end_where_there_is_room() {
    // Of `give the generator more CPU, or lower the rate`, whichever line that is in.
    let buffer = screen(&samples::unhealthy(30), PLAIN, (200, 50));
    find(&buffer, "UNHEALTHY: send lag p99");
    find(&buffer, "the rate ");
    // Where there is none, it is seen that something is missing.
    let buffer = screen(&samples::unhealthy(30), PLAIN, (80, 24));
    let (_, y) = find(&buffer, "UNHEALTHY: send lag p99");
    let row = &rows(&buffer)[usize::from(y)];
    assert!(row.contains('…'), "{row}");
}

#[test]
fn a_gateway_that_is_killed_is_no_calm() {
    let broken = samples::run(30, 300, |look| {
        if look.now > 20_000_000_000 {
            look.counters.sessions = 0;
            look.counters.disconnects = 1_990;
            look.counters.disconnects_excused = 1_990;
            look.connecting = 0;
        }
    });
    for size in [(200, 50), (160, 48)] {
        let buffer = screen(&broken, PLAIN, size);
        find(
            &buffer,
            "1,990 sessions broke, 1,990 of them because this run broke",
        );
        find(&buffer, "1,990 sessions are away");
    }
    assert_eq!(broken.calm(), "no promise broken");
    let calm = samples::run(30, 300, |look| {
        look.counters.connect_failures = 0;
        look.counters.gaps = 0;
        look.connecting = 2_000 - look.counters.sessions;
    });
    assert_eq!(calm.calm(), "nothing wrong");
    let late = samples::run(30, 9_000, |look| {
        look.counters.connect_failures = 0;
        look.counters.gaps = 0;
    });
    assert_eq!(late.calm(), "no promise broken");
}

#[test]
fn nothing_has_happened_yet() {
    for size in [(80, 24), (200, 50)] {
        let buffer = screen(&Model::new(samples::about()), PLAIN, size);
        find(&buffer, "nothing to judge yet");
        find(&buffer, "no trouble so far");
        row_has(&buffer, " open  ", &["0 of 2,000"]);
        row_has(&buffer, " e2e  ", &["-"]);
    }
}

#[test]
fn keys_change_what_is_seen() {
    let model = samples::busy(30);
    let frozen = Look {
        frozen: true,
        ..PLAIN
    };
    let buffer = screen(&model, frozen, (80, 24));
    row_has(&buffer, "loadgen run smoke", &["FROZEN"]);
    row_has(&buffer, " q end the run", &["p go on"]);
    let help = Look {
        help: true,
        ..PLAIN
    };
    let buffer = screen(&model, help, (80, 24));
    find(&buffer, "exit 105");
    find(&buffer, "freeze the screen; the run goes on");
    let ending = Look {
        ending: true,
        ..frozen
    };
    row_has(
        &screen(&model, ending, (80, 24)),
        "loadgen run smoke",
        &["ENDING"],
    );
}
