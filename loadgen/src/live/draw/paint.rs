//! Colours, and what stands for them where there are none.

use ratatui::style::{Color, Modifier, Style};

/// How things are marked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Paint {
    /// With colours; otherwise bold and reversed only.
    pub(crate) colour: bool,
}

impl Paint {
    fn either(self, colour: Style, plain: Style) -> Style {
        if self.colour { colour } else { plain }
    }

    /// Something is wrong: cannot be overlooked.
    pub(crate) fn alarm(self) -> Style {
        let bold = Style::new().add_modifier(Modifier::BOLD);
        self.either(
            bold.fg(Color::White).bg(Color::Red),
            bold.add_modifier(Modifier::REVERSED),
        )
    }

    /// Wrong.
    pub(crate) fn bad(self) -> Style {
        let bold = Style::new().add_modifier(Modifier::BOLD);
        self.either(bold.fg(Color::Red), bold.add_modifier(Modifier::REVERSED))
    }

    /// Worth a look.
    pub(crate) fn warn(self) -> Style {
        let bold = Style::new().add_modifier(Modifier::BOLD);
        self.either(Style::new().fg(Color::Yellow), bold)
    }

    /// As it should be.
    pub(crate) fn good(self) -> Style {
        self.either(Style::new().fg(Color::Green), Style::new())
    }

    /// What a figure is; the figure itself has the terminal's own colour.
    pub(crate) fn label(self) -> Style {
        self.either(
            Style::new().fg(Color::Gray).add_modifier(Modifier::DIM),
            Style::new(),
        )
    }

    /// A figure that matters most.
    pub(crate) fn strong(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    /// What was asked for.
    pub(crate) fn offered(self) -> Style {
        self.either(Style::new().fg(Color::Yellow), Style::new())
    }

    /// What came of it.
    pub(crate) fn achieved(self) -> Style {
        self.either(Style::new().fg(Color::Cyan), Style::new())
    }

    /// Lines around panels.
    pub(crate) fn border(self) -> Style {
        self.either(Style::new().fg(Color::DarkGray), Style::new())
    }

    /// The first line.
    pub(crate) fn title(self) -> Style {
        let bold = Style::new().add_modifier(Modifier::BOLD);
        self.either(
            bold.fg(Color::Black).bg(Color::Cyan),
            bold.add_modifier(Modifier::REVERSED),
        )
    }
}
