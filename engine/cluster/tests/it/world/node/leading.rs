//! What a node does while it leads.

use super::*;

impl Node {
    /// Decides what waits, if this node leads and nothing is on its way.
    pub(super) fn decide(&mut self, shared: &mut Shared) {
        let leads = self.lease.leads(shared.now) && self.flight.is_none() && !self.leaves;
        if !leads || self.intake.is_empty() || !self.chain.is_proved() {
            return;
        }
        let count = 1 + shared.random.below(60) as usize;
        let taken: Vec<_> = self.intake.drain(..count.min(self.intake.len())).collect();
        let digest = self.digest;
        let (refused, stored): (Vec<_>, Vec<_>) =
            { taken.iter().copied() }.partition(|command| is_refused(digest, *command));
        let mut answers = Vec::new();
        if stored.is_empty() {
            answers = self.answers_to(refused);
            if self.lease.may_answer(shared.now) {
                shared.check_answer(self.lease.epoch().0);
                let taking = self.taking.as_mut().expect("a leader takes");
                if taking.answer(self.index, &answers).is_ok() {
                    return;
                }
                shared.tally.crowded += 1;
            }
        }
        self.publish_group(stored, taken, answers, shared);
    }

    /// Returns the answers to commands that are in no group, by nodes.
    pub(super) fn answers_to(&self, refused: Vec<CommandId>) -> Vec<(Incarnation, Bytes)> {
        let mut of_nodes: BTreeMap<Incarnation, Vec<CommandId>> = BTreeMap::new();
        for command in refused {
            of_nodes.entry(command.0).or_default().push(command);
        }
        let answers = of_nodes.into_iter().map(|(node, commands)| {
            let content = Content {
                digest: self.digest,
                epoch: self.lease.epoch().0,
                commands,
            };
            let bytes = [&self.index.to_le_bytes()[..], &content.write()].concat();
            (node, bytes.into())
        });
        answers.collect()
    }

    /// Publishes a group that stores what is not refused. If it stores nothing, `answers` travel in it.
    pub(super) fn publish_group(
        &mut self,
        stored: Vec<CommandId>,
        decided: Vec<CommandId>,
        answers: Vec<(Incarnation, Bytes)>,
        shared: &mut Shared,
    ) {
        let taking = self.taking.as_ref().expect("a leader takes");
        let nodes: BTreeSet<_> = decided.iter().map(|(node, _)| *node).collect();
        let nodes: Vec<_> = nodes.into_iter().collect();
        let is_empty = stored.is_empty();
        let (mut riders, rides) = taking.riders((!is_empty).then_some(&nodes));
        riders.extend(answers.into_iter().map(|(node, bytes)| Rider {
            to: node.number,
            number: 0,
            bytes,
        }));
        let content = |commands| Content {
            digest: self.digest,
            epoch: self.lease.epoch().0,
            commands,
        };
        let mark = self.chain.mark().expect("a leader has taken its epoch");
        let link = self.chain.link().expect("a leader has looked at its mark");
        let transcript = content(stored).write();
        let own = content(if is_empty { Vec::new() } else { decided });
        let index = mark.index + 1;
        let messages = Draft {
            link,
            epoch: mark.epoch,
            index,
            ahead: 0,
            transcript: &transcript,
            told: &Telling::write(&riders, &own.write()),
        }
        .cut(512)
        .expect("a short group");
        let mut flight = Flight {
            index,
            epoch: mark.epoch,
            tickets: HashSet::new(),
            rides,
        };
        for (at, message) in messages.into_iter().enumerate() {
            self.tickets += 1;
            flight.tickets.insert(self.tickets);
            let after = link.after + at as u64;
            shared.publish(self.at, self.me.number, self.tickets, message, after);
        }
        self.flight = Some(flight);
        self.lease.published(shared.now);
    }

    pub(super) fn batch(&mut self, from: Sender, batch: Batch, shared: &mut Shared) {
        let Some(taking) = &mut self.taking else {
            return;
        };
        let age = self.lease.age_of_beat(batch.beat, shared.now);
        match taking.judge(from.epoch, from.node, &batch, age, shared.now) {
            Verdict::Take => {
                for command in batch.commands {
                    let command = (from.node, command.number);
                    let is_over = shared.truth.given_up.contains(&command);
                    assert!(!is_over, "{command:?} was given up, and is taken");
                    self.intake.push_back(command);
                }
            }
            Verdict::Known | Verdict::Ignore => {}
            Verdict::Renew => self.lease.renew(shared.now),
        }
    }

    /// Sends the receipts and answers that are due.
    pub(super) fn send_answers(&mut self, shared: &mut Shared) {
        while let Some(taking) = &mut self.taking
            && let Some((epoch, to, number)) = taking.poll_receipt(shared.now)
        {
            let receipt = Receipt {
                to: to.number,
                number,
            };
            self.send_in(epoch, to, Message::BatchesCame(receipt), shared);
        }
        while let Some(taking) = &mut self.taking
            && let Some((epoch, to, answers)) = taking.poll(shared.now)
        {
            self.send_in(epoch, to, Message::Answers(answers), shared);
        }
    }
}
