"""What every call of a server shares."""

from __future__ import annotations

from waveglow.serve.bodies import Bodies
from waveglow.serve.decoder import Decoder
from waveglow.serve.metrics import Metrics
from waveglow.serve.settings import Settings
from waveglow.serve.voice import Voice
from waveglow.serve.work import Scheduler


class Service:
    """A voice, the thread that computes with it, what is allowed and what is counted."""

    def __init__(self, voice: Voice, settings: Settings) -> None:
        self.voice, self.settings, self.metrics = voice, settings, Metrics()
        self.bodies = Bodies(settings)
        self.decoder = Decoder(settings, sample_rate=voice.mel_spec.sample_rate)
        self.scheduler = Scheduler(
            queue=settings.queue,
            deadline=settings.deadline,
            begin=voice.warm_up,
            mend=voice.reload,
            tell=voice.tell,
            metrics=self.metrics,
        )
        self.metrics.ready.set_function(lambda: self.scheduler.ready)
