"""autocompress.report"""
