def write_report(output, record, total):
    pass
