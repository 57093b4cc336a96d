def is_plaid(path): return False
def read_plaid(path, **k): pass
