//! The budgets of cost that clients wait for, each with a counter.

/// A budget of cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Throttle {
    /// The budget of a connection.
    Connection,
    /// The budget of a user.
    User,
    /// The budget of an address.
    Address,
    /// The budget of a namespace.
    Namespace,
}

impl Throttle {
    /// Every budget, in the order of its counter.
    pub const ALL: [Self; 4] = [Self::Connection, Self::User, Self::Address, Self::Namespace];

    /// The name of the setting, which is the label in /metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connection => "connection_cost",
            Self::User => "user_cost",
            Self::Address => "address_cost",
            Self::Namespace => "namespace_cost",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Throttle;

    #[test]
    fn each_has_its_counter() {
        for (i, of) in Throttle::ALL.into_iter().enumerate() {
            assert_eq!(of as usize, i, "{}", of.name());
        }
    }
}
