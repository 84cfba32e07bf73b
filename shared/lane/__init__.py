"""Lane for small feature maps: a table per stage and epoch, then messages with a fixed header; everything without I/O.

lane_messages     bytes and bounds of the messages
lane_requests     what a message says about its request, beside the header of a feature map
stage_records     the trace of a request in fixed records
lane_tables       tables of the sending and of the receiving side
input_assembly    the input of a stage, whose rows may come from several senders
"""
