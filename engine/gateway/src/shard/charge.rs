//! What clients pay for the work of the gateway, and how those in debt wait.

use trunkline_core::cost::Cost;
use trunkline_core::ids::UserId;
use trunkline_proto::BadCommand;
use trunkline_proto::message::Command;

use super::backlog::Slice;
use super::connection::Conn;
use super::core::Core;
use super::lanes::Party;
use super::price;
use super::rate::Beyond;
use super::source::Source;
use crate::cpu;
use crate::metrics::Work;
use crate::rate::Welcome;
use crate::timer::{TICK, TICKS_PER_SECOND, Tick};

/// The longest time, in ticks, for which a connection in debt is not read: a second. Its client may
/// leave meanwhile, or the debt may bind no more.
const PAUSE: Tick = 10;
const _: () = assert!(TICK.as_millis() * PAUSE as u128 == 1_000);

/// The debt, in ticks until it is paid, up to which a client only waits: five seconds. Beyond it the
/// client learns by refusals that it waits.
const PATIENCE: Tick = 50;
const _: () = assert!(TICK.as_millis() * PATIENCE as u128 == 5_000);

/// The work below which the user of a closed connection does not pay. Users who only connect have no
/// account.
const LEAST: Cost = Cost::micros(100);

/// Returns whose connection this is in the slow lanes.
fn party(conn: &Conn) -> Party {
    match conn.session() {
        Some(session) => Party::User(session.id),
        None => Party::Address(conn.source()),
    }
}

impl Core {
    /// Charges a connection for work that was done for it. The accounts of the connection, its user,
    /// its address and its namespace pay in pieces.
    #[inline]
    pub(super) fn charge(&mut self, slot: u32, conn: &mut Conn, work: Work, cost: Cost) {
        self.parts.metrics.worked(work, cost);
        if conn.incoming.is_slow() {
            let sliced = !matches!(work, Work::Parse);
            let began = self.turn.began();
            self.turn.lanes.note(party(conn), began, cost, sliced);
        }
        if conn.purse.spend(cost) {
            self.settle(slot, conn);
        } else if self.served_at != self.turn.now() {
            self.serve(slot, conn);
        }
    }

    /// Charges a user for work that was done for a connection that is gone.
    pub(super) fn charge_gone(&self, user: Option<UserId>, work: Work, cost: Cost) {
        self.parts.metrics.worked(work, cost);
        if let (Some(budgets), Some(user)) = (&self.parts.shared.budgets, user) {
            budgets.book_user(user, self.turn.now(), cost);
        }
    }

    /// Notes once in a tick that somebody is served who lives within the budget.
    #[cold]
    fn serve(&mut self, slot: u32, conn: &mut Conn) {
        if conn.source().is_unnamed() {
            return;
        }
        let now = self.turn.now();
        let Some(budgets) = &self.parts.shared.budgets else {
            self.served_at = now;
            return;
        };
        if !conn.purse.may_bind_others(now) || !self.payments.may_pay(slot, now) {
            return;
        }
        let holders = conn.holders();
        if budgets.serve(&holders, now) {
            self.served_at = now;
        } else if holders.user.is_some() {
            // The accounts have changed since the last payment.
            self.settle(slot, conn);
        }
    }

    /// Whether clients have budgets, and one within its budget was served in the last second.
    pub(super) fn serves_light(&self) -> bool {
        let recent = self.turn.now().saturating_sub(self.served_at) <= TICKS_PER_SECOND;
        self.parts.shared.budgets.is_some() && recent
    }

    /// Lets the accounts of a connection pay for the work that was done for it.
    #[cold]
    fn settle(&mut self, slot: u32, conn: &mut Conn) {
        if conn.source().is_unnamed() {
            // The client pays once the proxy has named it.
            return;
        }
        let now = self.turn.now();
        let Some(budgets) = &self.parts.shared.budgets else {
            return conn.purse.forget();
        };
        let (owed, had_debt) = (conn.purse.owes(now), conn.purse.had_debt());
        let (purse, holders) = conn.payers();
        let pay = |own: &mut _, cost| budgets.settle(own, &holders, now, cost);
        let settled = self.payments.settle(slot, purse, now, pay);
        self.forget_accounts_later();
        self.set_slow(slot, conn, settled.is_slow);
        if let Some(debt) = settled.debt {
            if !owed {
                self.parts.metrics.throttled(debt.of);
            }
            let at = conn.purse.ask_again(slot, now, PAUSE);
            conn.times.schedule(slot, &mut self.turn, at);
        } else if had_debt {
            self.end_pause(slot, conn);
        }
    }

    /// Takes a connection into the slow lane, or out of it. Those that leave do not wait.
    pub(super) fn set_slow(&mut self, slot: u32, conn: &mut Conn, slow: bool) {
        let slow = slow && !conn.is_closing();
        if conn.incoming.is_slow() == slow {
            return;
        }
        conn.incoming.set_slow(slow);
        if slow {
            // A newcomer brings the work of accepting it.
            let owes = match conn.session() {
                Some(_) => Cost::NONE,
                None => conn.purse.spent(),
            };
            self.turn.lanes.admit(slot, party(conn), owes);
            let at = self.turn.now() + TICKS_PER_SECOND;
            conn.times.schedule(slot, &mut self.turn, at);
        } else {
            self.turn.leave_lane(slot);
        }
    }

    /// Looks whether a connection in the slow lane spends little by now, at most once in a tick.
    pub(super) fn look_at_lane(&mut self, slot: u32, conn: &mut Conn) {
        let waits = conn.incoming.is_unread() && conn.incoming.has_backlog();
        if conn.incoming.is_slow() && !waits && self.payments.may_pay(slot, self.turn.now()) {
            self.settle(slot, conn);
        }
    }

    /// Whether the first of these commands takes so long to read that it waits for the slow lane while others
    /// are served: in the lane such pieces of work are rare. Takes the session into the lane then. Nothing cuts the
    /// reading of a command.
    #[cold]
    pub(super) fn waits_for_lane(&mut self, slot: u32, conn: &mut Conn, commands: &[u8]) -> bool {
        let Some(budgets) = &self.parts.shared.budgets else {
            return false;
        };
        if self.reads_slowly
            || conn.session().is_none()
            || !price::takes_long(conn.encoding(), commands)
            || !budgets.serves_another(&conn.holders(), self.turn.now())
        {
            return false;
        }
        self.set_slow(slot, conn, true);
        self.slice.end();
        true
    }

    /// Reads a connection again that has waited, behind the others, and asks its questions.
    fn end_pause(&mut self, slot: u32, conn: &mut Conn) {
        self.reads.drained(slot);
        conn.incoming.wait_behind();
        if conn.incoming.resume(self.turn.now()) {
            conn.incoming.read_later(slot, &mut self.turn);
        }
    }

    /// Takes a new connection into the slow lane whose address spends much, and lets it wait while the
    /// address is in debt.
    pub(super) fn receive_newcomer(&mut self, slot: u32, conn: &mut Conn) {
        let now = self.turn.now();
        let budgets = self.parts.shared.budgets.as_ref();
        let Some(budgets) = budgets.filter(|_| !conn.source().is_unnamed()) else {
            return;
        };
        let Welcome { wait, is_slow } = budgets.welcome(conn.source(), now);
        self.set_slow(slot, conn, is_slow);
        if wait > 0 {
            conn.purse.wait_until(now + wait.min(PAUSE));
            let at = conn.purse.ask_again(slot, now, PAUSE);
            conn.times.schedule(slot, &mut self.turn, at);
        }
    }

    /// Returns the ticks after which a client may come back whose connection is turned away, because
    /// its address is in debt while many connections wait for their session. `None`: it comes in.
    pub(super) fn turns_away(&self, address: Source) -> Option<Tick> {
        let budgets = self.parts.shared.budgets.as_ref()?;
        let now = self.turn.now();
        if address.is_unnamed()
            || !self.admission.is_crowded()
            || budgets.wait_of(address, now, Cost::NONE) == 0
        {
            return None;
        }
        self.parts.metrics.worked(Work::Open, price::CONNECTION);
        Some(budgets.wait_of(address, now, price::CONNECTION))
    }

    /// Whether a connection is not to be read, because those who pay for it are in debt. A stopping
    /// gateway reads everybody.
    #[inline]
    pub(super) fn must_wait(&self, conn: &Conn) -> bool {
        conn.purse.owes(self.turn.now())
            && !conn.is_closing()
            && !conn.incoming.has_ended()
            && !self.departing.has_begun()
    }

    /// Looks whether the debt of a connection is paid: it is read again then. While a long debt
    /// remains, a slice of the input is handled after each of the longest pauses. A turn does that for
    /// some connections only; the others wait for the next tick.
    pub(super) fn look_at_debt(&mut self, slot: u32, conn: &mut Conn, buffer: &mut [u8]) {
        if !conn.purse.had_debt() || conn.is_closing() {
            return;
        }
        self.settle(slot, conn);
        if !self.must_wait(conn) {
            self.end_pause(slot, conn);
        } else if conn.purse.remains(self.turn.now()) > PATIENCE
            && !self.backs.holds(slot)
            && !self.handoff.is_full()
            && conn.out.len() <= self.parts.limits.outbox_bytes
        {
            if !self.turn.take_debtor() {
                let next = self.turn.now() + 1;
                conn.times.schedule(slot, &mut self.turn, next);
            } else if conn.incoming.resume(self.turn.now()) {
                self.read_slice(slot, conn, buffer);
                if self.must_wait(conn) {
                    conn.incoming.pause();
                }
            }
        }
    }

    /// Reads a connection in the slow lane, unless it spends little by now. The lane is closed for what
    /// the input costs, or for the time that this thread has worked if that is longer, up to four times
    /// the cost: no price fits all input.
    pub(super) fn read_slowly(&mut self, slot: u32, conn: &mut Conn, buffer: &mut [u8]) {
        /// What a question to the store probably costs.
        const QUESTION: Cost = Cost::micros(200);
        /// How many times longer than its price a read may count.
        const UNFIT: usize = 4;
        self.look_at_lane(slot, conn);
        let expected = |conn: &Conn| Cost::micros(conn.unanswered.micros().into());
        let (before, pages) = (expected(conn), conn.unanswered.pages());
        self.parts.metrics.slow_reads.one();
        self.slice = Slice::new();
        let whose = party(conn);
        self.reads_slowly = true;
        let began = cpu::of_thread();
        self.read_in_turn(slot, conn, buffer);
        self.flush_piece(slot, conn);
        let worked = cpu::of_thread().saturating_sub(began);
        self.reads_slowly = false;
        let asked = conn.unanswered.pages().saturating_sub(pages);
        let passed =
            self.slice.used() + expected(conn).minus(before) + QUESTION.times(asked.into());
        self.turn.lanes.pass(whose, passed);
        let worked = Cost::nanos(worked.as_nanos() as u64).min(passed.times(UNFIT));
        self.turn.lanes.note(whose, self.turn.began(), worked, true);
    }

    /// Returns the id of a command that a client in debt may not send, and the refusal. `None` for a
    /// command that is carried out, or that nobody can read.
    #[inline]
    pub(super) fn refusal(
        &self,
        slot: u32,
        conn: &Conn,
        command: &Result<Command<'_>, BadCommand>,
    ) -> Option<(u32, Beyond)> {
        let refusal = self.payments.refusal(slot, &conn.purse, self.turn.now())?;
        let command = command.as_ref().ok()?;
        (!price::is_let_through(&command.body)).then_some((command.id, refusal))
    }

    /// Lets the accounts pay for a session that ends, and for the questions that it leaves.
    pub(super) fn settle_session(&mut self, slot: u32, conn: &mut Conn) {
        if conn.session().is_some() {
            let left = price::ABANDONED.times(usize::from(conn.unanswered.pages()));
            conn.purse.spend(left);
            if conn.purse.spent() >= LEAST {
                self.settle(slot, conn);
            }
        }
    }

    /// Lets the address pay for the last work for a connection that is gone.
    pub(super) fn settle_closed(&mut self, slot: u32, conn: &mut Conn) {
        self.settle_session(slot, conn);
        self.set_slow(slot, conn, false);
        let budgets = self.parts.shared.budgets.as_ref();
        let Some(budgets) = budgets.filter(|_| !conn.source().is_unnamed()) else {
            return;
        };
        let (purse, mut holders) = conn.payers();
        holders.user = None;
        let now = self.turn.now();
        let pay = |own: &mut _, cost| budgets.settle(own, &holders, now, cost);
        self.payments.settle(slot, purse, now, pay);
        self.payments.remove(slot);
        self.forget_accounts_later();
    }
}
