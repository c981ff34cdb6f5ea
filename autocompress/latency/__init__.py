"""autocompress.latency"""
