//! Styles of the screen: colours, or bold and reversed text on a terminal without colours.

use ratatui::style::{Color, Modifier, Style};

/// Chooses the styles of the screen.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Paint {
    /// Whether to use colours. Without colours, bold and reversed text replace them.
    pub(crate) colour: bool,
}

impl Paint {
    fn either(self, colour: Style, plain: Style) -> Style {
        if self.colour { colour } else { plain }
    }

    /// Returns the style of an error that the user must not overlook.
    pub(crate) fn alarm(self) -> Style {
        let bold = Style::new().add_modifier(Modifier::BOLD);
        self.either(
            bold.fg(Color::White).bg(Color::Red),
            bold.add_modifier(Modifier::REVERSED),
        )
    }

    /// Returns the style of a wrong value.
    pub(crate) fn bad(self) -> Style {
        let bold = Style::new().add_modifier(Modifier::BOLD);
        self.either(bold.fg(Color::Red), bold.add_modifier(Modifier::REVERSED))
    }

    /// Returns the style of a value that deserves a look.
    pub(crate) fn warn(self) -> Style {
        let bold = Style::new().add_modifier(Modifier::BOLD);
        self.either(Style::new().fg(Color::Yellow), bold)
    }

    /// Returns the style of a value that is as it should be.
    pub(crate) fn good(self) -> Style {
        self.either(Style::new().fg(Color::Green), Style::new())
    }

    /// Returns the style of a figure's name. The figure itself has the terminal's own colour.
    pub(crate) fn label(self) -> Style {
        self.either(
            Style::new().fg(Color::Gray).add_modifier(Modifier::DIM),
            Style::new(),
        )
    }

    /// Returns the style of the most important figures.
    pub(crate) fn strong(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    /// Returns the style of the offered load.
    pub(crate) fn offered(self) -> Style {
        self.either(Style::new().fg(Color::Yellow), Style::new())
    }

    /// Returns the style of the achieved load.
    pub(crate) fn achieved(self) -> Style {
        self.either(Style::new().fg(Color::Cyan), Style::new())
    }

    /// Returns the style of the borders of panels.
    pub(crate) fn border(self) -> Style {
        self.either(Style::new().fg(Color::DarkGray), Style::new())
    }

    /// Returns the style of the title line.
    pub(crate) fn title(self) -> Style {
        let bold = Style::new().add_modifier(Modifier::BOLD);
        self.either(
            bold.fg(Color::Black).bg(Color::Cyan),
            bold.add_modifier(Modifier::REVERSED),
        )
    }
}
