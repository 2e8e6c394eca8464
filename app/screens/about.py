"""About: what is this, and what is it not?"""

from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path

import streamlit as st

from app import sources, widgets
from app import sources as app_settings
from speechxai import SpeechXAIError, __version__


def short(path: Path) -> str:
    """A path with the reader's own folder as ~."""
    return f"~/{path.relative_to(Path.home())}" if path.is_relative_to(Path.home()) else str(path)


widgets.page("What is this, and what is it not?")
left, right = st.columns([1, 1], gap="large")
with left:
    st.markdown("""
**What it is.** A workbench that shows which parts of a voice recording a classifier of Parkinson's disease relies on, and tests
whether that explanation can be trusted: against maps that know nothing of the model, against other methods, and against
recordings in which the truth is known because it was planted there.

**What it is not.** It is **not a medical device**. It does not diagnose, and no answer here should change how a person is treated.
A faithful explanation shows what the *model* uses; whether that has anything to do with the disease is a question for you.

**How to read a map.** Orange marks places whose change would move the model's answer most. *Kept* is the sound of the strongest
fifth of them alone, *removed* the recording without them; the numbers beside them are what the model says of each. If *removed*
sounds like the original and the answer stays, the map explains nothing, however convincing it looks.
""")  # noqa: E501
    st.header("Where your recordings go")
    st.markdown(f"""
Nowhere. The app runs on this computer and asks nothing of the internet. A recording that you bring stays in the memory of
your session and is gone when you close the page, unless you press *Save*. Maps of the data set's own recordings are kept in
{widgets.plain(short(app_settings.cache_folder()))} so that they come back at once; start with `--no-cache` to keep nothing.
""")  # noqa: E501
with right:
    model = widgets.choose_model()
    try:
        bundle = sources.bundle(model)
        about, card = bundle.card, sources.data_card()
    except SpeechXAIError as error:
        widgets.problem(error)
        st.stop()
    with st.container(border=True, height=420):
        widgets.card(about or "This model has no card.")
    if card:
        with st.expander("Data card"):
            widgets.card(card)

st.header("How it is computed")
config = bundle.config
segment = f"heard in stretches of {config.segment.length_s:g} s" if config.segment else "heard whole"
st.markdown(f"""
Audio is mixed to mono at {config.stft.sample_rate / 1000:g} kHz and becomes a spectrogram of {config.stft.n_fft // 2 + 1} frequencies every
{1000 * config.stft.hop_length / config.stft.sample_rate:.1f} ms; recordings are {segment}. A recording of the training data is judged by a network that never heard
its speaker. Evidence is the positive part of signed maps, scaled to its own maximum. Protocol *standard*, after Mancini et al., ICASSPW 2025
(arXiv 2411.08013), whose published protocol the command line reproduces as *mancini2025*.
""")  # noqa: E501
names = ("torch", "captum", "streamlit", "numpy")
versions = ", ".join(f"{n} {metadata.version(n)}" for n in names)
st.caption(f"speechxai {__version__}, Python {sys.version.split()[0]}, {versions}. Model {bundle.sha256[:12]}.")
widgets.foot()
