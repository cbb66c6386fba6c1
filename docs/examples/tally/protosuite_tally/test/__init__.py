"""trial protosuite_tally"""
