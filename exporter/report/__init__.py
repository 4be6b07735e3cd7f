"""The parity report: data (`model`), on the terminal (`table`), as one offline HTML file (`html`)."""
