//! Who is asked, ready to be: servers that were started and stages that were
//! built, kept between windows that want the same.

use std::sync::Arc;

use super::corpus::Corpus;
use super::process::Usage;
use super::session::Watcher;
use super::stage::Alone;
use super::subject::Subject;
use super::sweep::Variant;
use super::target::{About, Target};
use super::workload::{CorpusSettings, Stage, TargetSettings, Workload};
use crate::metrics::reading::Reading;

pub struct Opened {
    servers_max: usize,
    /// Those used last come last.
    ready: Vec<Ready>,
    corpora: Vec<(CorpusSettings, Arc<Corpus>)>,
}

pub struct Ready {
    key: Key,
    pub corpus: Arc<Corpus>,
    pub about: About,
    who: Who,
}

/// What makes two windows ask the same.
#[derive(Debug, Clone, PartialEq)]
struct Key {
    stage: Stage,
    target: TargetSettings,
    route: Option<String>,
}

enum Who {
    Target(Box<Target>),
    Alone(Box<Alone>),
}

impl Opened {
    pub fn new(servers_max: usize) -> Self {
        Opened { servers_max, ready: Vec::new(), corpora: Vec::new() }
    }

    /// What the variant asks, started now if it is not there.
    pub async fn subject(
        &mut self,
        variant: &Variant,
        watcher: &dyn Watcher,
    ) -> anyhow::Result<&mut Ready> {
        let workload = &variant.workload;
        let corpus = self.corpus(workload)?;
        let key = Key {
            stage: workload.stage,
            target: workload.target.clone(),
            route: workload.request.route.clone(),
        };
        let found = self.ready.iter().position(|ready| ready.key == key);
        let ready = match found {
            Some(place) => self.ready.remove(place),
            None => {
                watcher.prepares(&variant.name);
                while self.ready.len() >= self.servers_max {
                    self.ready.remove(0).who.close().await;
                }
                let who = Who::open(workload).await?;
                Ready { key, corpus: corpus.clone(), about: who.about(), who }
            }
        };
        self.ready.push(Ready { corpus, ..ready });
        Ok(self.ready.last_mut().expect("it was just put there"))
    }

    fn corpus(&mut self, workload: &Workload) -> anyhow::Result<Arc<Corpus>> {
        let known = self.corpora.iter().find(|(settings, _)| *settings == workload.corpus);
        let corpus = match known {
            Some((_, corpus)) => corpus.clone(),
            None => {
                let corpus = Arc::new(Corpus::load(&workload.corpus)?);
                self.corpora.push((workload.corpus.clone(), corpus.clone()));
                corpus
            }
        };
        corpus.check(workload.request.documents)?;
        Ok(corpus)
    }

    pub async fn close(self) {
        for ready in self.ready {
            ready.who.close().await;
        }
    }
}

impl Ready {
    pub fn subject(&self, workload: &Workload) -> anyhow::Result<Arc<dyn Subject>> {
        match &self.who {
            Who::Target(target) => target.subject(workload),
            Who::Alone(alone) => Ok(alone.subject(workload.request.timeout_ms)),
        }
    }

    pub async fn reading(&self) -> Option<Reading> {
        match &self.who {
            Who::Target(target) => target.reading().await,
            Who::Alone(alone) => Some(alone.reading()),
        }
    }

    pub fn usage(&self) -> Usage {
        match &self.who {
            Who::Target(target) => target.usage(),
            // It and the harness are one process, whose time nobody can divide.
            Who::Alone(_) => Usage::of(std::process::id()),
        }
    }

    /// An error if a server that was started here has ended.
    pub fn lives(&mut self) -> anyhow::Result<()> {
        match &mut self.who {
            Who::Target(target) => target.lives(),
            Who::Alone(_) => Ok(()),
        }
    }
}

impl Who {
    async fn open(workload: &Workload) -> anyhow::Result<Who> {
        Ok(match workload.stage {
            Stage::Whole => Who::Target(Box::new(Target::open(workload).await?)),
            _ => Who::Alone(Box::new(Alone::open(workload).await?)),
        })
    }

    fn about(&self) -> About {
        match self {
            Who::Target(target) => target.about.clone(),
            Who::Alone(alone) => alone.about(),
        }
    }

    async fn close(self) {
        match self {
            Who::Target(target) => target.close().await,
            Who::Alone(alone) => alone.close().await,
        }
    }
}
