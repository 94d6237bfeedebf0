//! What became of the messages of honest users.

use serde::Serialize;

use crate::honest::person::{Person, Sent};
use crate::latencies::Latencies;
use crate::samples::Samples;
use crate::turns::{COUNTED, Turn};

/// What went wrong for honest users. All of it is 0 beside a gateway that keeps them whole.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Harm {
    /// Messages that were stored and never arrived, and gaps.
    pub(crate) lost: u64,
    /// Messages that arrived twice or in another order.
    pub(crate) disordered: u64,
    /// Messages that were neither stored nor refused until the end.
    pub(crate) unanswered: u64,
    /// Messages that the gateway refused.
    pub(crate) refused: u64,
    /// Sessions that the gateway ended.
    pub(crate) closed: u64,
}

/// The messages of all honest users.
#[derive(Debug)]
pub(crate) struct Ledger {
    /// By turn of [`COUNTED`].
    pub(crate) turns: [Latencies; COUNTED.len()],
    /// The latencies of single messages.
    pub(crate) samples: Samples,
    /// What went wrong.
    pub(crate) harm: Harm,
    /// How many messages of the attack's turn have not arrived.
    pub(crate) waiting: u64,
    /// The turn of the last message that was sent.
    last: Turn,
}

impl Ledger {
    /// Makes a ledger without messages.
    ///
    /// # Errors
    /// None, as the bounds of the histograms are valid.
    pub(crate) fn new() -> anyhow::Result<Self> {
        Ok(Self {
            turns: [
                Latencies::new()?,
                Latencies::new()?,
                Latencies::new()?,
                Latencies::new()?,
                Latencies::new()?,
            ],
            samples: Samples::default(),
            harm: Harm::default(),
            waiting: 0,
            last: Turn::Between,
        })
    }

    /// Counts a message that is sent. The first one of a turn begins a round.
    pub(crate) fn sent(&mut self, turn: Turn, due: u64) {
        self.waiting += u64::from(turn == Turn::Attack);
        let begins = std::mem::replace(&mut self.last, turn) != turn;
        if let Some(at) = turn.counted() {
            self.turns[at].due(due);
            if begins {
                self.samples.begin_round(at, due);
            }
        }
    }

    /// Counts a message that arrived at `now`. `sender` is the user who sent it.
    ///
    /// # Errors
    /// None, as the bounds of the histograms are valid.
    pub(crate) fn arrived(
        &mut self,
        sender: &mut Person,
        came: Sent,
        now: u64,
    ) -> anyhow::Result<()> {
        let Some(at) = sender.on_the_way.iter().position(|sent| *sent == came) else {
            self.harm.disordered += 1;
            return Ok(());
        };
        self.harm.disordered += u64::from(came.number < sender.arrived);
        sender.arrived = sender.arrived.max(came.number);
        sender.on_the_way.remove(at);
        self.record(came, now)
    }

    fn record(&mut self, sent: Sent, now: u64) -> anyhow::Result<()> {
        self.waiting -= u64::from(sent.turn == Turn::Attack);
        if let Some(at) = sent.turn.counted() {
            let latency = now.saturating_sub(sent.due);
            self.samples.record(at, sent.due, latency);
            self.turns[at].record(sent.due, latency)?;
        }
        Ok(())
    }

    /// Counts a message that the gateway refused.
    pub(crate) fn refused(&mut self, sender: &mut Person, number: u64) {
        self.harm.refused += 1;
        sender.answered += 1;
        let on_the_way = &mut sender.on_the_way;
        if let Some(at) = on_the_way.iter().position(|sent| sent.number == number)
            && let Some(sent) = on_the_way.remove(at)
        {
            self.waiting -= u64::from(sent.turn == Turn::Attack);
        }
    }

    /// Counts what never arrived at a user's partner, at the end of the measurement. Its latency is
    /// at least the time until then.
    ///
    /// # Errors
    /// None, as the bounds of the histograms are valid.
    pub(crate) fn close(&mut self, sender: &mut Person, now: u64) -> anyhow::Result<()> {
        let answered = sender.answered;
        self.harm.unanswered += sender.sent - answered;
        for sent in std::mem::take(&mut sender.on_the_way) {
            self.harm.lost += u64::from(sent.number <= answered);
            self.record(sent, now)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream() -> mio::net::TcpStream {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        mio::net::TcpStream::from_std(stream)
    }

    /// A user who has sent these messages, and the ledger that knows of them.
    fn sent(numbers: std::ops::RangeInclusive<u64>) -> (Person, Ledger, Vec<Sent>) {
        let (mut person, mut ledger) = (Person::new(stream()), Ledger::new().unwrap());
        let turn = Turn::Attack;
        let all: Vec<_> = numbers
            .map(|number| Sent {
                number,
                due: 5,
                turn,
            })
            .collect();
        for sent in &all {
            ledger.sent(turn, sent.due);
            person.on_the_way.push_back(*sent);
            person.sent += 1;
        }
        (person, ledger, all)
    }

    #[test]
    fn what_arrives_in_order_harms_nobody() {
        let (mut person, mut ledger, all) = sent(1..=3);
        for message in all {
            ledger.arrived(&mut person, message, 10).unwrap();
            person.answered += 1;
        }
        ledger.close(&mut person, 10).unwrap();
        assert_eq!((ledger.harm, ledger.waiting), (Harm::default(), 0));
        assert_eq!(ledger.turns[2].count(), 3);
    }

    #[test]
    fn twice_or_in_another_order() {
        let (mut person, mut ledger, all) = sent(1..=2);
        ledger.arrived(&mut person, all[1], 10).unwrap();
        assert_eq!(ledger.harm.disordered, 0);
        ledger.arrived(&mut person, all[1], 10).unwrap();
        assert_eq!(ledger.harm.disordered, 1);
        ledger.arrived(&mut person, all[0], 10).unwrap();
        assert_eq!((ledger.harm.disordered, ledger.waiting), (2, 0));
    }

    #[test]
    fn stored_and_never_pushed_is_lost() {
        let (mut person, mut ledger, _) = sent(1..=3);
        person.answered = 2;
        ledger.close(&mut person, 1_000_000_005).unwrap();
        assert_eq!((ledger.harm.lost, ledger.harm.unanswered), (2, 1));
        assert!(ledger.turns[2].millis(1.0) > 999.0);
    }

    #[test]
    fn a_refusal_is_neither_lost_nor_unanswered() {
        let (mut person, mut ledger, all) = sent(1..=2);
        ledger.refused(&mut person, 1);
        ledger.arrived(&mut person, all[1], 10).unwrap();
        person.answered += 1;
        ledger.close(&mut person, 10).unwrap();
        let expected = Harm {
            refused: 1,
            ..Harm::default()
        };
        assert_eq!(ledger.harm, expected);
    }
}
