//! Questions about the stream, by threads that wait for the answer.

use std::sync::mpsc as std_mpsc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::asker::{Asker, Unasked, is_unserved};
use super::line::Line;
use super::names::ClusterNames;
use super::stream::{self, MESSAGE_MAX, StreamError, StreamInfo, StreamPlan};

/// The time in which a question must be answered, with the time until there is a connection.
const WITHIN: Duration = Duration::from_secs(10);

/// The time in which one request must be answered before it is made again.
const ONCE: Duration = Duration::from_secs(2);

/// The time before a request that failed is made again.
const AGAIN: Duration = Duration::from_millis(100);

/// The questions that wait.
const WAITING: usize = 4;

/// The stream that has the log. The calls wait up to 10 seconds for the servers.
#[derive(Clone, Debug)]
pub struct Streams {
    line: Line,
    questions: mpsc::Sender<Question>,
}

#[derive(Debug)]
struct Question {
    what: What,
    until: Instant,
    answer: std_mpsc::SyncSender<Result<StreamInfo, StreamError>>,
}

#[derive(Clone, Copy, Debug)]
enum What {
    Create(StreamPlan),
    Open,
    Join,
}

impl Streams {
    /// Creates the stream. Nothing else ever does.
    ///
    /// # Errors
    /// There is such a stream, the plan cannot be right, the servers do not take the longest record, or they refuse or do
    /// not answer. After [`StreamError::Silent`] the stream may be there all the same.
    pub fn create(&self, plan: StreamPlan) -> Result<StreamInfo, StreamError> {
        plan.check()?;
        self.ask(What::Create(plan))
    }

    /// Tells about the stream, and checks that it is as a log must be.
    ///
    /// # Errors
    /// There is no such stream, it is not as it must be, or the servers refuse or do not answer.
    pub fn open(&self) -> Result<StreamInfo, StreamError> {
        self.ask(What::Open)
    }

    /// Tells about the stream as [`open`](Self::open) does, for a node that will publish. First it sends a message as long as
    /// the longest record to nobody.
    ///
    /// # Errors
    /// Those of [`open`](Self::open), and the servers do not take the longest record.
    pub fn join(&self) -> Result<StreamInfo, StreamError> {
        self.ask(What::Join)
    }

    fn ask(&self, what: What) -> Result<StreamInfo, StreamError> {
        let (answer, answered) = std_mpsc::sync_channel(1);
        let question = Question {
            what,
            until: Instant::now() + WITHIN,
            answer,
        };
        if self.questions.try_send(question).is_err() {
            let why = "the thread that speaks NATS has ended, or has too many questions";
            return Err(StreamError::Silent(why.into()));
        }
        // A second more: the answer is a better sentence than this one.
        match answered.recv_timeout(WITHIN + Duration::from_secs(1)) {
            Ok(answer) => answer,
            Err(_) => Err(silence(&self.line, WITHIN)),
        }
    }
}

/// Returns the error of a question that nobody answered in time.
pub(crate) fn silence(line: &Line, within: Duration) -> StreamError {
    let condition = line.condition();
    StreamError::Silent(
        match condition.trouble.is_empty() || condition.is_connected {
            true => format!("nothing within {within:?}"),
            false => condition.trouble,
        },
    )
}

/// The part that runs on the thread.
#[derive(Debug)]
pub(crate) struct Answering {
    names: ClusterNames,
    line: Line,
    questions: mpsc::Receiver<Question>,
}

/// Makes both parts.
pub(crate) fn streams(names: &ClusterNames, line: &Line) -> (Streams, Answering) {
    let (questions, taken) = mpsc::channel(WAITING);
    let streams = Streams {
        line: line.clone(),
        questions,
    };
    let answering = Answering {
        names: names.clone(),
        line: line.clone(),
        questions: taken,
    };
    (streams, answering)
}

impl Answering {
    /// Answers until nobody can ask any more.
    pub(crate) async fn run(mut self, mut asker: Asker) {
        while let Some(question) = self.questions.recv().await {
            let answer = match question.what {
                What::Create(plan) => self.create(&mut asker, plan, question.until).await,
                What::Open => self.info(&mut asker, question.until).await,
                What::Join => self.join(&mut asker, question.until).await,
            };
            // Who has stopped waiting hears nothing.
            let _ = question.answer.try_send(answer);
        }
    }

    async fn info(&self, asker: &mut Asker, until: Instant) -> Result<StreamInfo, StreamError> {
        let subject = format!("$JS.API.STREAM.INFO.{}", self.names.stream());
        let answer = self.ask(asker, &subject, Bytes::new(), until).await?;
        stream::read(&self.names, &answer)
    }

    async fn join(&self, asker: &mut Asker, until: Instant) -> Result<StreamInfo, StreamError> {
        self.measure(asker, until).await?;
        self.info(asker, until).await
    }

    /// Sends a message of the greatest length to nobody. The servers say the limit of an account in no other way.
    async fn measure(&self, asker: &mut Asker, until: Instant) -> Result<(), StreamError> {
        let subject = self.names.to_all("length");
        let bytes = Bytes::from(vec![0; MESSAGE_MAX]);
        loop {
            let once = until.min(Instant::now() + ONCE);
            let asked = asker.ask(&subject, bytes.clone(), once).await;
            if let Some(why) = self.line.shortage() {
                return Err(StreamError::Length(why));
            }
            match asked {
                // The server took it, and says that nobody wants it. One that may not say it is silent.
                Ok(_) | Err(Unasked::Silence) => return Ok(()),
                Err(Unasked::NotSent(_)) if Instant::now() + AGAIN < until => {}
                Err(Unasked::NotSent(_) | Unasked::Ended) => {
                    return Err(silence(&self.line, WITHIN));
                }
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    async fn create(
        &self,
        asker: &mut Asker,
        plan: StreamPlan,
        until: Instant,
    ) -> Result<StreamInfo, StreamError> {
        self.measure(asker, until).await?;
        // The servers take a request for a stream that is there already as done, if it is the same.
        match self.info(asker, until).await {
            Err(StreamError::Absent(_)) => {}
            Ok(_) | Err(StreamError::Differs { .. }) => {
                return Err(StreamError::Exists(self.names.stream()));
            }
            Err(why) => return Err(why),
        }
        let subject = format!("$JS.API.STREAM.CREATE.{}", self.names.stream());
        let request = plan.request(&self.names);
        let answer = self.ask(asker, &subject, request.into(), until).await?;
        stream::read(&self.names, &answer)
    }

    /// Asks again until there is an answer.
    async fn ask(
        &self,
        asker: &mut Asker,
        subject: &str,
        bytes: Bytes,
        until: Instant,
    ) -> Result<Bytes, StreamError> {
        loop {
            let now = Instant::now();
            let once = until.min(now + ONCE);
            match asker.ask(subject, bytes.clone(), once).await {
                Ok(message) if !is_unserved(&message) => return Ok(message.payload),
                Err(Unasked::Ended) => return Err(silence(&self.line, WITHIN)),
                // JetStream starts later than its server, and a cluster elects.
                Ok(_) | Err(Unasked::NotSent(_) | Unasked::Silence) => {}
            }
            if Instant::now() + AGAIN >= until {
                return Err(silence(&self.line, WITHIN));
            }
            tokio::time::sleep(AGAIN).await;
        }
    }
}
