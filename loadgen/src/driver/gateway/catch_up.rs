//! Fetching the events that a slow reader missed.
//!
//! A gateway that cannot get rid of its pushes drops them and sends one `gap`. The client then asks
//! with `sync` for everything since the last position that it saw, page by page, while live pushes
//! go on.

/// The state of fetching missed events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CatchUp {
    /// The fetching ends with the last page of this answer.
    Once,
    /// Another gap came meanwhile, so the fetching continues after the last page.
    Again,
}

impl CatchUp {
    /// Notes a gap. Returns whether the caller must ask for the first page; if not, a page is under
    /// way.
    pub(super) fn gap(state: &mut Option<Self>) -> bool {
        let first = state.is_none();
        *state = Some(match first {
            true => Self::Once,
            false => Self::Again,
        });
        first
    }

    /// Notes that a page came; `more` if the gateway has further pages. Returns whether to ask for
    /// the next page.
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
