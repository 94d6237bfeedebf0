//! Fetching the events that a slow reader missed.
//!
//! A gateway that cannot get rid of its pushes drops them and sends one `gap`. The client then asks
//! with `sync` for everything since the last position that it saw, page by page, while live pushes
//! go on.

/// How far the fetching of missed events has to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CatchUp {
    /// To the end of the answer.
    Once,
    /// Beyond the end of the answer: there was another gap meanwhile.
    Again,
}

impl CatchUp {
    /// A gap came. Returns whether a first page has to be asked for: otherwise one is under way.
    pub(super) fn gap(state: &mut Option<Self>) -> bool {
        let first = state.is_none();
        *state = Some(match first {
            true => Self::Once,
            false => Self::Again,
        });
        first
    }

    /// A page came; `more`: the gateway has further ones. Returns whether to ask for the next.
    pub(super) fn page(state: &mut Option<Self>, more: bool) -> bool {
        let again = *state == Some(Self::Again);
        *state = match (more, again) {
            (true, true) => Some(Self::Again),
            (true, false) | (false, true) => Some(Self::Once),
            (false, false) => None,
        };
        state.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_gap_is_fetched_to_the_last_page() {
        let mut state = None;
        assert!(CatchUp::gap(&mut state));
        assert!(CatchUp::page(&mut state, true));
        assert!(CatchUp::page(&mut state, true));
        assert!(!CatchUp::page(&mut state, false));
        assert_eq!(state, None);
    }

    #[test]
    fn a_gap_meanwhile_is_fetched_behind_the_last_page() {
        let mut state = None;
        assert!(CatchUp::gap(&mut state));
        assert!(!CatchUp::gap(&mut state), "a page is under way");
        assert!(CatchUp::page(&mut state, true));
        assert!(CatchUp::page(&mut state, false), "the second gap is left");
        assert!(!CatchUp::page(&mut state, false));
        assert_eq!(state, None);
    }
}
