//! The part of a terminal emulator (ECMA-48) that shows what a person sees.

/// The content of a screen.
pub(crate) struct Screen {
    cells: Vec<Vec<(char, Option<u8>)>>,
    at: (usize, usize),
    /// The palette's number of the background.
    background: Option<u8>,
    /// Whether the alternate screen is shown, whose content vanishes with it.
    pub(crate) other: bool,
}

impl Screen {
    /// Plays what was written to a terminal of this size.
    pub(crate) fn play(written: &str, (width, height): (u16, u16)) -> Self {
        let mut screen = Self {
            cells: vec![vec![(' ', None); usize::from(width)]; usize::from(height)],
            at: (0, 0),
            background: None,
            other: false,
        };
        let mut letters = written.chars();
        while let Some(letter) = letters.next() {
            match letter {
                '\x1b' => {
                    match letters.next() {
                        Some('[') => {}
                        None => return screen,
                        other => panic!("only CSI is known here, not {other:?}"),
                    }
                    let is_end = |c: &char| ('@'..='~').contains(c);
                    let mut arguments = String::new();
                    let end = loop {
                        // What is still on its way is played the next time.
                        let Some(letter) = letters.next() else {
                            return screen;
                        };
                        if is_end(&letter) {
                            break letter;
                        }
                        arguments.push(letter);
                    };
                    screen.control(&arguments, end);
                }
                '\r' => screen.at.0 = 0,
                '\n' => screen.at.1 += 1,
                letter => screen.put(letter),
            }
        }
        screen
    }

    fn put(&mut self, letter: char) {
        let (x, y) = self.at;
        let background = self.background;
        if let Some(cell) = self.cells.get_mut(y).and_then(|row| row.get_mut(x)) {
            *cell = (letter, background);
        }
        self.at.0 += 1;
    }

    fn control(&mut self, arguments: &str, end: char) {
        let numbers: Vec<usize> = arguments
            .trim_start_matches('?')
            .split(';')
            .map(|number| number.parse().unwrap_or(0))
            .collect();
        let nth = |n: usize| numbers.get(n).copied().unwrap_or(0);
        match (end, arguments) {
            ('H', _) => self.at = (nth(1).max(1) - 1, nth(0).max(1) - 1),
            ('J', _) => self
                .cells
                .iter_mut()
                .flatten()
                .for_each(|it| *it = (' ', None)),
            ('h' | 'l', "?1049") => self.other = end == 'h',
            ('m', _) => {
                let mut numbers = numbers.into_iter();
                while let Some(number) = numbers.next() {
                    match number {
                        38 => drop(numbers.nth(1)),
                        48 => self.background = numbers.nth(1).map(|n| n as u8),
                        0 | 49 => self.background = None,
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }

    /// Returns the text of the whole screen, one line for each row.
    pub(crate) fn text(&self) -> String {
        let rows = self.cells.iter();
        let rows = rows.map(|row| row.iter().map(|cell| cell.0).collect::<String>());
        rows.collect::<Vec<_>>().join("\n")
    }

    /// Returns the background behind a text.
    #[track_caller]
    pub(crate) fn behind(&self, text: &str) -> Option<u8> {
        let first = text.chars().next().expect("a text");
        let rows = self.cells.iter();
        let mut found = rows.filter_map(|row| {
            let line: String = row.iter().map(|cell| cell.0).collect();
            let at = line[..line.find(text)?].chars().count();
            assert_eq!(row[at].0, first);
            Some(row[at].1)
        });
        found
            .next()
            .unwrap_or_else(|| panic!("no {text} in {}", self.text()))
    }
}
