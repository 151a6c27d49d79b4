"""What Streamlit runs: modules stay loaded between its runs, this file does not."""

from ui.frame import main

main()
